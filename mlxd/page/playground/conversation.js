// A conversation as the API wants it; it outlives a reload of the page, not the tab.

const KEPT = "mlxd.conversation";

export class Conversation {
  constructor() {
    this.messages = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
  }

  add(message) {
    this.messages.push(message);
    this.#keep();
  }

  clear() {
    this.messages = [];
    this.#keep();
  }

  /** Take back the last answer, and the results that were given to it. */
  dropAnswer() {
    while (this.messages.length && this.messages.at(-1).role !== "user" && this.messages.at(-1).role !== "tool") {
      this.messages.pop();
    }
    this.#keep();
  }

  #keep() {
    try {
      sessionStorage.setItem(KEPT, JSON.stringify(this.messages));
    } catch {
      // It has become longer than the browser keeps: a reload then shows what was kept before.
    }
  }
}

/** Return an answer as a message of the conversation. */
export function messageOf(answer) {
  const message = { role: "assistant", content: answer.text };
  if (answer.thoughts) message.reasoning_content = answer.thoughts;
  const calls = answer.calls.map(({ id, name, arguments: text }) => ({ id, type: "function", function: { name, arguments: text } }));
  if (calls.length) message.tool_calls = calls;
  return message;
}
