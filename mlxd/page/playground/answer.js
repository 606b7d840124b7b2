// One answer as it comes: thoughts, text, calls of functions, and what it took.

import { follow } from "../api.js";

/** An answer; `changed` is called when there is more of it. */
export class Answer {
  text = "";
  thoughts = "";
  calls = []; // {id, name, arguments}
  state = "waiting"; // then "thinking", "writing", "done", "stopped" or "failed"
  progress = ""; // what the daemon says before the first token, such as "loading 41%"
  error = "";
  finish = null;
  usage = null;
  firstToken = null; // seconds
  thought = null; // seconds
  total = null; // seconds
  #abort = new AbortController();

  constructor(changed) {
    this.changed = changed;
  }

  get running() {
    return ["waiting", "thinking", "writing"].includes(this.state);
  }

  stop() {
    this.#abort.abort();
  }

  /** Ask, and take the answer until it ends. */
  async ask(body) {
    const began = performance.now();
    const since = () => (performance.now() - began) / 1000;
    try {
      await follow("v1/chat/completions", body, {
        signal: this.#abort.signal,
        comment: (text) => {
          this.progress = text;
          this.changed();
        },
        data: (event) => this.#take(event, since),
      });
      this.state = "done";
    } catch (error) {
      this.state = error.name === "AbortError" ? "stopped" : "failed";
      if (this.state === "failed") this.error = error.message;
    }
    this.total = since();
    this.thought ??= this.thoughts ? this.total : null;
    this.changed();
  }

  #take({ choices, usage }, since) {
    if (usage) this.usage = usage;
    const [choice] = choices ?? [];
    if (!choice) return;
    const { reasoning_content: thoughts, content, tool_calls: calls = [] } = choice.delta;
    if (thoughts || content || calls.length) this.firstToken ??= since();
    if (thoughts) {
      this.thoughts += thoughts;
      this.state = "thinking";
    }
    if (content || calls.length) {
      if (this.thoughts) this.thought ??= since();
      this.state = "writing";
    }
    this.text += content ?? "";
    for (const call of calls) this.#takeCall(call);
    this.finish = choice.finish_reason ?? this.finish;
    this.changed();
  }

  #takeCall({ index, id, function: { name = "", arguments: more = "" } = {} }) {
    this.calls[index] ??= { id, name: "", arguments: "" };
    this.calls[index].name += name;
    this.calls[index].arguments += more;
  }
}
