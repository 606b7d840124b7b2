// How the turns of a conversation look.

import { copy, fill, h, say } from "../dom.js";
import { count, rate, seconds, things } from "../format.js";
import { render } from "../markdown.js";

const LEAST_SECONDS = 0.05; // for a rate that means something

/** Return what a user said, or a function's result. */
export function saidTurn(text, name = null) {
  return h("article", { class: name ? "turn result" : "turn said", "aria-label": name ? "Result" : "You" },
    name ? h("p", { class: "muted" }, `Result of ${name}`) : null,
    h("div", { class: "bubble" }, text));
}

/** The turn of an answer, brought up to date as it grows, at most once in a frame. */
export class AnswerTurn {
  #due = false;
  #rendered = "";
  #pause = 0;

  constructor(answer, { retry, giveResults }) {
    this.answer = answer;
    this.giveResults = giveResults;
    this.thoughts = h("div", { class: "thoughts-text" });
    this.summary = h("summary", {});
    this.details = h("details", { class: "thoughts" }, this.summary, this.thoughts);
    this.text = h("div", { class: "text" });
    this.text.addEventListener("click", ({ target }) => {
      if (target.dataset.copies) copy(target.parentElement.nextElementSibling.textContent, target);
    });
    this.calls = h("div", { class: "calls" });
    this.pending = h("p", { class: "pending" });
    this.meta = h("p", { class: "muted meta" });
    this.error = h("p", { class: "outcome bad", role: "alert" });
    const copyButton = h("button", { type: "button", class: "quiet", onclick: () => copy(answer.text, copyButton) }, "Copy");
    this.tools = h("div", { class: "turn-tools" }, copyButton,
      h("button", { type: "button", class: "quiet retry", onclick: retry }, "Try again"), this.meta);
    this.element = h("article", { class: "turn answer", "aria-label": "Answer" },
      this.details, this.text, this.calls, this.pending, this.error, this.tools);
    answer.changed = () => this.#later();
    this.show();
  }

  #later() {
    if (this.#due) return;
    this.#due = true;
    setTimeout(() => requestAnimationFrame(() => {
      this.#due = false;
      this.show();
    }), this.#pause);
  }

  show() {
    const { answer } = this;
    this.element.setAttribute("aria-busy", String(answer.running));
    this.details.hidden = !answer.thoughts;
    say(this.summary, answer.thought !== null ? `Thought for ${seconds(answer.thought)}` : answer.running ? "Thinking …" : "Thoughts");
    say(this.thoughts, answer.thoughts.trim());
    this.#showText();
    this.#showCalls();
    this.pending.hidden = !answer.running || answer.state !== "waiting";
    say(this.pending, answer.progress || "waiting …");
    say(this.error, answer.error);
    this.tools.hidden = answer.running;
    say(this.meta, metaOf(answer));
    this.element.dispatchEvent(new CustomEvent("grown", { bubbles: true }));
  }

  #showText() {
    if (this.answer.text === this.#rendered) return;
    const began = performance.now();
    this.#rendered = this.answer.text;
    render(this.text, this.answer.text);
    this.#pause = (performance.now() - began) * 3; // a long text is rendered less often
  }

  #showCalls() {
    const { calls, running } = this.answer;
    if (!calls.length || (!running && this.calls.dataset.done)) return;
    fill(this.calls, calls.map((call) => callCard(call)));
    if (running) return;
    this.calls.dataset.done = "true";
    this.calls.append(resultForm(calls, this.giveResults));
  }
}

function callCard({ name, arguments: text }) {
  return h("section", { class: "call" },
    h("p", {}, "Calls ", h("code", {}, name)), h("pre", {}, pretty(text)));
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // it is not complete yet
  }
}

function resultForm(calls, giveResults) {
  const inputs = calls.map(({ name }, index) => h("textarea", { rows: 2, id: `result-${index}`, "aria-label": `Result of ${name}`, placeholder: `What ${name} returns` }));
  const form = h("form", {
    class: "results",
    onsubmit(event) {
      event.preventDefault();
      form.remove();
      giveResults(calls.map((call, index) => ({ call, text: inputs[index].value })));
    },
  }, inputs, h("button", { type: "submit" }, calls.length > 1 ? "Give the results" : "Give the result"));
  return form;
}

function metaOf({ state, finish, usage, firstToken, total }) {
  const texts = [];
  if (state === "stopped") texts.push("stopped");
  if (finish === "length") texts.push("cut off at the most tokens");
  if (usage) {
    texts.push(things(usage.completion_tokens, "token"));
    const writing = total - firstToken;
    if (usage.completion_tokens > 1 && writing > LEAST_SECONDS) texts.push(`${rate((usage.completion_tokens - 1) / writing)} tokens/s`);
    const cached = usage.prompt_tokens_details?.cached_tokens;
    texts.push(`prompt ${count(usage.prompt_tokens)}${cached ? `, ${count(cached)} cached` : ""}`);
  }
  if (firstToken !== null) texts.push(`first token ${seconds(firstToken)}`);
  return texts.join(" · ");
}
