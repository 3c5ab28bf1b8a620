// The speaker's window: notes, clock, time gone by, what comes next.
import { find } from "./dom.js";


export function isSpeaker() {
  return location.hash === "#speaker";
}

export function openSpeaker() {
  window.open(`${location.href.split("#")[0]}#speaker`, "lab-speaker", "width=1100,height=760");
}

export class Speaker {
  /** `titles` are those of the moments, as far as they are foreseen: a live machine has not played them yet. */
  constructor(labels, titles) {
    this.labels = labels;
    this.titles = titles;
    document.body.dataset.face = "speaker";
    find("#speaker").hidden = false;
    this.#tick();
    setInterval(() => this.#tick(), 1000);
  }

  show(state, moment, next) {
    this.started = state.started;
    find("#speaker-count").textContent = `${state.position} / ${state.expected ?? state.last}`;
    find("#speaker-title").textContent = moment.title;
    find("#speaker-next").textContent = next?.title ?? this.#after(state);
    const question = state.asked ? next?.question : moment.question;
    find("#speaker-question").hidden = !question;
    find("#speaker-question p:last-child").textContent = question ?? "";
    find("#speaker-blank").hidden = !state.blank;
    document.title = `${moment.number} · ${moment.title}`;
    for (const place of document.querySelectorAll('#speaker [data-slot="notes"]')) place.innerHTML = moment.slots.notes;
    this.#tick();
  }

  #after(state) {
    if (state.over) return this.labels.last_step;
    return this.titles[state.position + 1] ?? (this.titles.length ? this.labels.last_step : "…");
  }

  #tick() {
    find("#clock").textContent = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
    const seconds = Math.max(0, Math.floor((Date.now() - (this.started ?? Date.now())) / 1000));
    find("#elapsed").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  }
}
