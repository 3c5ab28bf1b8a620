// What the pointer, or the keyboard's focus, is on: the bits of an entry are named, an address is walked.
import { find } from "./dom.js";
import { hop } from "./stage.js";


/** Name the bits of the entry under the pointer or focus. */
export function nameBits(bits) {
  const tip = find("#bits");
  const hide = () => { tip.hidden = true; };
  const show = (event) => {
    const entry = event.target.closest?.("[data-entry]");
    if (!entry) return hide();
    tip.replaceChildren(heading(entry), table(BigInt(entry.dataset.entry), bits[entry.dataset.kind] ?? []));
    tip.hidden = false;
    place(tip, entry.getBoundingClientRect());
  };
  document.addEventListener("pointerover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("focusout", hide);
  return hide;
}

function heading(entry) {
  const line = document.createElement("p");
  line.className = "kicker";
  const digits = BigInt(entry.dataset.entry).toString(16).padStart(16, "0");
  line.textContent = `${entry.dataset.level} @ pa:${entry.dataset.at} = 0x${digits}`;
  return line;
}

function table(value, bits) {
  const rows = document.createElement("table");
  for (const [high, low, name, meaning] of bits) {
    const field = (value >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);
    const row = rows.insertRow();
    row.className = field ? "set" : "unset";
    const place = high === low ? `${high}` : `${high}:${low}`;
    const digits = high === low ? `${field}` : `0x${field.toString(16)}`;
    for (const text of [place, name, digits, meaning]) row.insertCell().textContent = text;
  }
  return rows;
}

/** Below the entry where there is room, else above it, and never outside of the window. */
function place(tip, box) {
  const { width, height } = tip.getBoundingClientRect();
  const top = box.bottom + 10 + height < innerHeight ? box.bottom + 10 : Math.max(4, box.top - height - 10);
  tip.style.left = `${Math.max(4, Math.min(box.left, innerWidth - width - 4))}px`;
  tip.style.top = `${top}px`;
}

/** The drawer in which answers appear, and what asks for them: addresses anywhere, and the prompt. */
export class Answers {
  constructor(ask, labels) {
    this.ask = ask;
    this.labels = labels;
    this.drawer = find("#answer");
    this.asked = [];
    this.drawer.querySelector(".close").addEventListener("click", () => this.close());
    document.addEventListener("click", (event) => this.#chosen(event.target));
    find("#prompt").addEventListener("submit", (event) => this.#typed(event));
    find("#line").addEventListener("keydown", (event) => this.#recall(event));
  }

  async show(line) {
    const html = await this.ask(line);
    find("#asked-line").textContent = line;
    const place = find("#answered");
    if (html === null) place.textContent = this.labels.unknown;
    else place.innerHTML = html;
    const focus = document.activeElement;
    if (this.drawer.hidden) this.before = focus.matches("input") ? null : focus; // the prompt would keep all keys
    this.drawer.hidden = false;
    this.drawer.scrollTop = 0;
    hop(place);
  }

  /** Whether there was anything to close. */
  close() {
    if (this.drawer.hidden) return false;
    this.drawer.hidden = true;
    this.before?.focus?.();
    return true;
  }

  #chosen(target) {
    const address = target.closest?.("[data-address]")?.dataset.address;
    if (!address || getSelection().type === "Range") return;
    this.show(lineFor(address));
    find("#answered").focus({ preventScroll: true });
  }

  #typed(event) {
    event.preventDefault();
    const line = find("#line").value.trim();
    if (!line) return;
    find("#line").value = "";
    this.asked.push(line);
    this.recalled = this.asked.length;
    this.show(/^[0-9a-fx_`]{5,}$|^pa:/i.test(line) ? lineFor(line) : line);
  }

  #recall(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    this.recalled = Math.min(Math.max((this.recalled ?? 0) + step, 0), this.asked.length);
    find("#line").value = this.asked[this.recalled] ?? "";
  }
}

/** A virtual address is walked; of a physical one, all addresses that lead to it are shown. */
export function lineFor(address) {
  return address.startsWith("pa:") ? `aliases ${address}` : `walk ${address}`;
}
