// Puts a moment on the page. All drawing was done by the lab; here pieces of HTML go to their slots.
import { all, find } from "./dom.js";


export class Stage {
  constructor(labels, go) {
    this.labels = labels;
    this.go = go;
    this.slots = {};
    for (const tab of all("[role=tab]")) tab.addEventListener("click", () => this.open(tab.dataset.panel));
    find("[role=tablist]").addEventListener("keydown", (event) => this.#tabKey(event));
  }

  show(state, moment, next) {
    for (const [name, html] of Object.entries(moment.slots)) this.#fill(name, html);
    document.title = `${moment.number} · ${moment.title}`;
    for (const tab of all("[role=tab]")) tab.disabled = !moment.slots[tab.dataset.panel];
    if (this.number !== moment.number) this.open(moment.panel);
    this.number = moment.number;
    this.#progress(state);
    this.#question(state.asked ? next?.question : "");
    find("#blank").hidden = !state.blank;
  }

  open(panel) {
    for (const tab of all("[role=tab]")) {
      const isOpen = tab.dataset.panel === panel;
      tab.setAttribute("aria-selected", isOpen);
      tab.tabIndex = isOpen ? 0 : -1;
      find(`#${tab.getAttribute("aria-controls")}`).hidden = !isOpen;
    }
    this.panel = panel;
    find(`#panel-${panel} .current`)?.scrollIntoView({ block: "center" });
  }

  /** The next panel that has something to show. */
  turn(step = 1) {
    const names = all("[role=tab]:not(:disabled)").map((tab) => tab.dataset.panel);
    if (names.length) this.open(names[(names.indexOf(this.panel) + step + names.length) % names.length]);
  }

  #fill(name, html) {
    if (this.slots[name] === html) return;
    this.slots[name] = html;
    for (const place of all(`[data-slot="${name}"]`)) place.innerHTML = html;
    if (name === "walk") hop(find("#walk"));
    if (name === "story") find("#story").scrollTop = 0;
  }

  #progress(state) {
    const bar = find("#progress");
    const end = state.expected ?? state.last;
    while (bar.children.length <= end) {
      const button = document.createElement("button");
      const number = bar.children.length;
      button.setAttribute("aria-label", `${this.labels.step} ${number}`);
      button.addEventListener("click", () => this.go(number));
      bar.append(button);
    }
    [...bar.children].forEach((button, number) => {
      button.classList.toggle("seen", number < state.position);
      button.toggleAttribute("aria-current", number === state.position);
      button.hidden = number > end;
      button.tabIndex = number === state.position ? 0 : -1;
    });
    const total = document.createElement("small");
    total.textContent = ` / ${end}${state.over || end > state.last ? "" : "…"}`;
    find("#count").replaceChildren(String(state.position), total);
    const source = find("#source-of-truth");
    const word = state.live ? "live" : document.documentElement.dataset.export ? "export" : "recorded";
    source.textContent = `${state.live ? "●" : "○"} ${this.labels[word]}`;
    source.classList.toggle("live", state.live);
  }

  #question(text) {
    find("#asked").textContent = text ?? "";
    find("#question").hidden = !text;
  }

  #tabKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    this.turn(step);
    find("[role=tab][aria-selected=true]").focus();
  }
}

/** Let the hops of walks that have just been put there appear one after the other; without motion they simply are. */
export function hop(place) {
  const delay = (part, seconds) => {
    for (const moving of [part, ...part.children]) moving.style.animationDelay = `${seconds}s`;
  };
  let last = 0;
  for (const row of place.querySelectorAll(".row")) {
    let number = 0;
    for (const part of row.querySelectorAll(".arrow, .table")) {
      number = part.dataset.hop === undefined ? number : Number(part.dataset.hop);
      delay(part, 0.18 * number + (part.classList.contains("table") ? 0.12 : 0));
    }
    last = Math.max(last, number + 1);
  }
  for (const end of place.querySelectorAll(".walk > .frame, .walk > .fault, .walk > .frame > .arrow")) delay(end, 0.18 * last);
  place.classList.add("hopping");
}
