// The lecture page: keys and windows around a player and a stage.
import { find } from "./dom.js";
import { FilePlayer, LabPlayer, unpacked } from "./players.js";
import { Answers, nameBits } from "./pointing.js";
import { isSpeaker, openSpeaker, Speaker } from "./speaker.js";
import { Stage } from "./stage.js";

const setup = JSON.parse(find("#setup").textContent);
const packed = find("#bundle");
if (packed) document.documentElement.dataset.export = "true";

const player = packed
  ? new FilePlayer(await unpacked(packed.textContent), setup.name)
  : new LabPlayer(setup.labels);
const go = (number) => player.act({ do: "go", number });
const face = isSpeaker() ? new Speaker(setup.labels, setup.titles) : new Stage(setup.labels, go);
const answers = new Answers((line) => player.ask(line), setup.labels);
const hideBits = nameBits(setup.bits);
const themes = ["dark", "light", "projector"];
let digits = "";
let turn = 0;

player.onstate = async (state) => {
  turn += 1;
  const mine = turn;
  if (state.notice) say(state.notice);
  const moment = await player.moment(state.position).catch(() => null);
  if (!moment) return say(setup.labels.no_such_step);
  const next = state.position < state.last ? await player.moment(state.position + 1).catch(() => null) : null;
  if (mine !== turn) return; // a later key was faster
  hideBits();
  const place = `${state.position}${state.asked ? "?" : ""}`;
  if (place !== document.documentElement.dataset.shown) answers.close(); // an answer stays as long as its moment
  face.show(state, moment, next);
  document.documentElement.dataset.shown = place;
};

const keys = {
  ArrowRight: () => player.act({ do: "next" }),
  " ": () => player.act({ do: "next" }),
  PageDown: () => player.act({ do: "next" }),
  ArrowLeft: () => player.act({ do: "back" }),
  PageUp: () => player.act({ do: "back" }),
  Home: () => go(0),
  End: () => go(player.state?.last),
  "+": () => resize(1.1),
  "=": () => resize(1.1),
  "-": () => resize(1 / 1.1),
  t: () => retheme(),
  v: () => face.turn?.(),
  n: () => toggle("#notes"),
  b: () => player.act({ do: "blank" }),
  ":": () => find("#line").focus(),
  "/": () => find("#line").focus(),
  s: () => openSpeaker(),
  "?": () => find("#keys").showModal(),
  Escape: () => leave(),
  Enter: () => digits && goToDigits(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target;
  if (target.matches?.("input")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (find("#keys").open && event.key !== "?") return;
  const isButton = target.closest?.("button, [role=button]");
  if (isButton && (event.key === "Enter" || event.key === " ") && !digits) {
    if (isButton.tagName !== "BUTTON") {
      event.preventDefault();
      isButton.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    }
    return;
  }
  if (/^[0-9]$/.test(event.key)) return collect(digits + event.key);
  if (event.key === "Backspace") return collect(digits.slice(0, -1));
  const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  if (event.key !== "Enter") collect("");
  action();
});

// What was clicked with the pointer must not have the keys of the lecture from then on.
const release = (event) => event.detail && event.target.closest?.("button, [role=button]")?.blur();
document.addEventListener("click", release, { capture: true });
find("#next").addEventListener("click", keys.ArrowRight);
find("#back").addEventListener("click", keys.ArrowLeft);
find("#help").addEventListener("click", keys["?"]);
find("#question").addEventListener("click", keys.ArrowRight);
find("#keys .close").addEventListener("click", () => find("#keys").close());

function collect(text) {
  digits = text.slice(-4);
  find("#digits").hidden = !digits;
  find("#digits").textContent = `→ ${digits}`;
}

function goToDigits() {
  const number = Number(digits);
  collect("");
  go(number);
}

function leave() {
  collect("");
  hideBits();
  if (answers.close()) return;
  find("#notes").hidden = true;
  if (player.state?.blank) player.act({ do: "blank" });
}

function resize(factor) {
  const style = document.documentElement.style;
  const size = Number(style.getPropertyValue("--size") || 1) * factor;
  style.setProperty("--size", Math.min(Math.max(size, 0.5), 2.5).toFixed(3));
}

function retheme() {
  const root = document.documentElement;
  root.dataset.theme = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
  say(setup.labels[root.dataset.theme]);
}

function toggle(selector) {
  find(selector).hidden = !find(selector).hidden;
}

let speaking;
function say(text) {
  const toast = find("#toast");
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(speaking);
  speaking = setTimeout(() => { toast.hidden = true; }, 4000);
}

await player.start();
