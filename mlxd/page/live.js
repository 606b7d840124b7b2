// What the page knows of the daemon, asked for again and again while somebody looks at it.

import { ApiError, get } from "./api.js";
import { History } from "./history.js";

const PAUSE_MS = 2000;
const ROUNDS_BETWEEN_MODELS = 5;

/** Holds the newest facts in `state`, and calls `changed` whenever they may have changed. */
export class Live {
  #changed;
  #timer = 0;
  #round = 0;
  #asking = null;

  constructor(changed) {
    this.#changed = changed;
    this.state = {
      caller: null, // who we are and what we may do
      status: null,
      models: null, // on disk; null is not known yet
      pulls: [],
      activity: null,
      history: new History(),
      trouble: null, // the ApiError of the last round
    };
    document.addEventListener("visibilitychange", () => this.now());
  }

  /** Whether the caller has a right. */
  may(right) {
    return this.state.caller?.rights.includes(right) ?? false;
  }

  /** Ask at once; `models` says that the models on disk have changed. */
  async now({ models = false } = {}) {
    if (models) this.#round = 0;
    clearTimeout(this.#timer);
    if (document.hidden) return;
    await this.#asking;
    this.#asking = this.#ask();
    await this.#asking;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.now(), PAUSE_MS);
  }

  async #ask() {
    const { state } = this;
    try {
      if (!state.caller || state.trouble) state.caller = await get("ui/v1/caller");
      if (this.may("metrics")) await this.#look();
      state.trouble = null;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      state.trouble = error;
      this.#round = 0;
    }
    this.#changed(state);
  }

  async #look() {
    const { state } = this;
    const hour = this.#round === 0 ? "?hour=true" : "";
    const [status, activity, pulls] = await Promise.all([
      get("ui/v1/status"),
      get(`ui/v1/activity${hour}`),
      get("ui/v1/pulls"),
    ]);
    if (this.#round % ROUNDS_BETWEEN_MODELS === 0 || pulls.pulls.length !== state.pulls.length) {
      state.models = await get("ui/v1/models");
    }
    this.#round += 1;
    state.status = status;
    state.activity = activity;
    state.pulls = pulls.pulls;
    state.history.take(activity.history, activity.now);
  }
}
