// How to ask: the system prompt, sampling, thoughts and functions; kept as long as the tab.

import { h } from "../dom.js";

const KEPT = "mlxd.settings";
const NUMBERS = [
  // name in the request, label, step, least, most
  ["temperature", "Temperature", 0.05, 0, 5],
  ["top_p", "Top p", 0.05, 0, 1],
  ["top_k", "Top k", 1, 0, null],
  ["min_p", "Min p", 0.01, 0, 1],
  ["repetition_penalty", "Repetition penalty", 0.05, 0, null],
  ["max_tokens", "Most tokens", 1, 1, null],
  ["seed", "Seed", 1, 0, null],
];

/** The form of the settings. An empty field leaves the choice to the model and the daemon. */
export class Settings {
  #fields = {};

  constructor() {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
    const field = (name, label, input) => {
      input.id = `setting-${name}`;
      input.value = kept[name] ?? "";
      input.addEventListener("input", () => this.#keep());
      this.#fields[name] = input;
      return h("div", { class: "field" }, h("label", { for: input.id }, label), input);
    };
    this.error = h("p", { class: "outcome bad", role: "alert" });
    this.element = h("form", { class: "settings", onsubmit: (event) => event.preventDefault() },
      field("system", "System prompt", h("textarea", { rows: 3, placeholder: "none" })),
      h("div", { class: "numbers" }, NUMBERS.map(([name, label, step, least, most]) =>
        field(name, label, h("input", { type: "number", inputmode: "decimal", step, min: least, max: most, placeholder: "default" })))),
      field("thinking", "Thoughts", h("select", {}, h("option", { value: "" }, "as the model does"),
        h("option", { value: "on" }, "on"), h("option", { value: "off" }, "off"))),
      field("tools", "Functions, as JSON", h("textarea", { rows: 4, spellcheck: "false", class: "code", placeholder: '[{"name": "get_weather", "parameters": {…}}]' })),
      this.error,
      h("button", { type: "button", class: "quiet", onclick: () => this.#clear() }, "Back to the defaults"));
  }

  /** Show what the model uses where a field is empty. */
  showDefaults(sampling) {
    for (const [name] of NUMBERS) {
      const value = sampling[name];
      const unlimited = name === "max_tokens" && value === 0;
      this.#fields[name].placeholder = value === undefined || unlimited ? "default" : String(value);
    }
  }

  /** Return the system prompt, "" for none. */
  get system() {
    return this.#fields.system.value.trim();
  }

  /** Return what the request says of all this, or null if a field is wrong and says so. */
  request() {
    const asked = {};
    for (const [name, label] of NUMBERS) {
      const input = this.#fields[name];
      if (!input.validity.valid) return this.#refuse(input, `${label}: ${input.validationMessage}`);
      if (input.value !== "") asked[name] = input.valueAsNumber;
    }
    const thinking = this.#fields.thinking.value;
    if (thinking) asked.enable_thinking = thinking === "on";
    const tools = this.#tools();
    if (tools === null) return null;
    if (tools.length) asked.tools = tools;
    this.error.textContent = "";
    return asked;
  }

  #tools() {
    const input = this.#fields.tools;
    if (!input.value.trim()) return [];
    try {
      const given = [JSON.parse(input.value)].flat();
      return given.map((each) => (each.function ? each : { type: "function", function: each }));
    } catch (error) {
      return this.#refuse(input, `Functions: ${error.message}`);
    }
  }

  #refuse(input, text) {
    this.error.textContent = text;
    input.closest("details")?.setAttribute("open", "");
    input.focus();
    return null;
  }

  #keep() {
    const values = Object.entries(this.#fields).map(([name, input]) => [name, input.value]);
    sessionStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(values)));
  }

  #clear() {
    for (const input of Object.values(this.#fields)) input.value = "";
    this.error.textContent = "";
    this.#keep();
  }
}
