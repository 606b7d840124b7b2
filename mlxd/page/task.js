// Something that the daemon takes its time for: loading, unloading, a change of the default model.

import { ApiError, follow } from "./api.js";
import { say } from "./dom.js";
import { percent, things } from "./format.js";

/** Says in an element how a task goes; `ended` is called after each. */
export class Task {
  #place;
  #ended;

  constructor(place, ended) {
    this.#place = place;
    this.#ended = ended;
    this.busy = false;
  }

  /** Ask for something and follow it to its end. */
  async run(path, body) {
    this.busy = true;
    this.#say("");
    this.#ended();
    try {
      await follow(path, { ...body, stream: true }, {
        data: ({ progress }) => { if (progress) this.#say(wordsOf(progress)); },
      });
      this.#say("");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#say(error.message, true);
    } finally {
      this.busy = false;
      this.#ended();
    }
  }

  #say(text, bad = false) {
    say(this.#place, text);
    this.#place.classList.toggle("bad", bad);
  }
}

function wordsOf({ status, model, fraction, requests }) {
  if (status === "draining") return `waiting for ${things(requests ?? 0, "request")} of ${model}`;
  return fraction === null || fraction === undefined ? `${status} …` : `${status} ${percent(fraction)}`;
}
