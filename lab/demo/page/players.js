// Two players with one face: `act`, `moment`, `ask`, and `onstate`, which is called with every new state.
import { moved } from "./steps.js";

/** The lecture in this file: all moments and answers are here; windows of one file keep each other in step. */
export class FilePlayer {
  constructor(bundle, name) {
    this.bundle = bundle;
    this.onstate = () => {};
    this.channel = new BroadcastChannel(`lab ${name}`);
    this.channel.onmessage = ({ data }) => this.#heard(data);
    this.state = {
      position: 0, last: bundle.moments.length - 1, over: true, asked: false, answered: [], blank: false,
      live: false, version: 0, started: Date.now(), notice: "",
    };
  }

  async start() {
    this.onstate(this.state);
    this.channel.postMessage({ hello: true });
  }

  async act(action) {
    this.state = moved(this.state, action, (number) => this.bundle.moments[number].question);
    this.onstate(this.state);
    this.channel.postMessage({ state: this.state });
  }

  async moment(number) {
    const { slots, ...rest } = this.bundle.moments[number];
    const found = Object.entries(slots).map(([name, index]) => [name, this.bundle.strings[index]]);
    return { ...rest, slots: Object.fromEntries(found) };
  }

  /** The answer to a line as HTML; null when this file does not have it. */
  async ask(line) {
    const index = this.bundle.moments[this.state.position].answers[line];
    return index === undefined ? null : this.bundle.strings[index];
  }

  #heard(message) {
    if (message.hello) {
      this.channel.postMessage({ state: this.state });
    } else {
      this.state = message.state;
      this.onstate(this.state);
    }
  }
}

/**
 * The lecture of the lab that serves this page; when that goes away, of what has been seen of it.
 *
 * A key that leads to what has been seen is shown at once, and the lab's word, which follows, puts right what was
 * foretold wrongly. From a key on that only the lab can answer, its word is waited for.
 */
export class LabPlayer {
  constructor(labels) {
    this.labels = labels;
    this.onstate = () => {};
    this.moments = new Map();
    this.seen = [];
    this.acting = Promise.resolve();
    this.underWay = 0;
    this.foretelling = true;
    this.gone = false;
  }

  async start() {
    this.state = this.told = await this.#get("state");
    this.onstate(this.state);
    const events = new EventSource("events");
    events.onmessage = ({ data }) => this.#take(JSON.parse(data));
    this.#fetchAhead();
  }

  /** One action after the other, in the order of the keys; none before anything is shown. */
  async act(action) {
    if (!this.state) return;
    this.underWay += 1;
    const foretold = this.foretelling ? this.#foretold(action) : null;
    if (foretold) this.#show(foretold);
    else this.foretelling = false;
    this.acting = this.acting.then(() => this.#act(action, foretold));
    await this.acting;
  }

  async #act(action, foretold) {
    try {
      if (!this.gone) this.#take(await this.#post("do", action));
    } catch {
      this.#lose();
    }
    this.underWay -= 1;
    if (!this.underWay) this.foretelling = true;
    if (this.gone) {
      if (!foretold) this.#show(this.#foretold(action) ?? { ...this.state, notice: this.labels.no_such_step });
    } else if (!this.underWay) {
      this.#show(this.told);
    }
  }

  /** The state that an action leads to; null where not all of it has been seen. */
  #foretold(action) {
    const { position, last, over } = this.state;
    const wanted = action.do === "go" ? action.number : position + Number(action.do === "next");
    const next = moved({ ...this.state, notice: "" }, action, (number) => this.seen[number]?.question);
    const isSeen = this.seen[Math.min(wanted, last)] && this.seen[next.position];
    return isSeen && (wanted <= last || over) ? next : null;
  }

  async moment(number) {
    const version = number === this.state.last ? this.state.version : 0;
    const found = this.moments.get(number);
    if (found && (this.gone || found.version >= version)) return found.coming;
    const coming = this.#get(`moments/${number}`);
    this.moments.set(number, { coming, version });
    coming.then(
      (moment) => { this.seen[number] = moment; },
      () => this.moments.delete(number),
    );
    return coming;
  }

  /** The answer of the lab, when it has done what was wanted of it before; null when it has gone. */
  async ask(line) {
    await this.acting;
    if (this.gone) return null;
    try {
      return (await this.#post("ask", { line })).html;
    } catch {
      this.#lose();
      return null;
    }
  }

  /** Hear how things stand, unless that is known already: answers and events come by different ways. */
  #take(state) {
    if (state.turn <= this.told.turn) return;
    this.told = state;
    if (!this.underWay || !this.foretelling || state.notice) this.#show(state);
  }

  #show(state) {
    if (state === this.state) return;
    const hasLostGuest = this.state.live && !state.live;
    this.state = state;
    this.onstate(state);
    if (hasLostGuest && !this.gone) this.#fetchAhead();
  }

  #lose() {
    if (this.gone) return;
    this.gone = true;
    this.#show({ ...this.state, live: false, over: true, notice: this.labels.gone });
  }

  /** Bring all moments here while nobody waits, so that the lecture goes on whatever happens to the lab. */
  async #fetchAhead() {
    try {
      for (let number = 0; number <= this.state.last; number += 1) await this.moment(number);
    } catch {
      // the next key will find out
    }
  }

  async #get(path) {
    return this.#answer(await fetch(path));
  }

  async #post(path, body) {
    const headers = { "Content-Type": "application/json" };
    return this.#answer(await fetch(path, { method: "POST", headers, body: JSON.stringify(body) }));
  }

  async #answer(response) {
    if (!response.ok) throw new Error(`${response.url}: ${response.status}`);
    return response.json();
  }
}

/** What an export carries: JSON, compressed, as letters. */
export async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(plain).json();
}
