// Talk to a model: the conversation, the line to type in, and the settings beside it.

import { get, key } from "../api.js";
import { copy, fill, h, keep } from "../dom.js";
import { Answer } from "../playground/answer.js";
import { Conversation, messageOf } from "../playground/conversation.js";
import { curl } from "../playground/curl.js";
import { Settings } from "../playground/settings.js";
import { AnswerTurn, saidTurn } from "../playground/turns.js";

const KEPT_MODEL = "mlxd.model";

export function playgroundView(live) {
  const conversation = new Conversation();
  const settings = new Settings();
  let running = null;

  const choice = h("select", { id: "model", "aria-label": "Model", onchange: choose });
  const turns = h("div", { class: "turns", "aria-live": "off" });
  const input = h("textarea", {
    id: "prompt", rows: 1, placeholder: "Ask something", "aria-label": "Message",
    oninput: grow, onkeydown: typed,
  });
  const send = h("button", { type: "submit", class: "primary" }, "Send");
  const stop = h("button", { type: "button", title: "Esc", hidden: true, onclick: () => running?.stop() }, "Stop");
  const curlButton = h("button", { type: "button", onclick: () => copyCurl() }, "Copy as curl");
  const fresh = h("button", { type: "button", onclick: clear }, "New");
  const side = h("details", { class: "side card" }, h("summary", {}, "Settings"), settings.element);
  const element = h("div", { class: "view playground" },
    h("h1", { class: "unseen" }, "Playground"),
    h("div", { class: "talk" },
      h("div", { class: "bar" }, choice, h("span", { class: "grow" }), curlButton, fresh),
      turns,
      h("form", { class: "composer card", onsubmit: submit }, input, h("div", { class: "buttons" }, stop, send))),
    side);
  const wide = matchMedia("(min-width: 60rem)");
  const fold = () => { side.open = wide.matches; };
  wide.addEventListener("change", fold);
  fold();
  turns.addEventListener("grown", stayAtEnd);
  element.addEventListener("keydown", (event) => {
    if (event.key === "Escape") running?.stop();
  });
  redraw();

  function update({ models, status }) {
    const names = models?.models.map(({ id }) => id) ?? [];
    const byDefault = status?.default_model ? `Default: ${status.default_model}` : "Default model";
    const wanted = choice.value || sessionStorage.getItem(KEPT_MODEL) || "";
    keep(choice, ["", ...names], (name) => name, (name) => h("option", { value: name }),
      (option, name) => { option.textContent = name || byDefault; });
    if (names.includes(wanted) && choice.value !== wanted) choice.value = wanted;
    if (!choice.dataset.chosen) choose();
  }

  async function show() {
    const named = decodeURIComponent(location.hash.split("?")[1] ?? "");
    if (named) {
      sessionStorage.setItem(KEPT_MODEL, named);
      history.replaceState(null, "", "#/playground");
      choice.value = named;
    }
    if (!live.state.models && !live.may("metrics")) await listForKeys();
    stayAtEnd(true);
    input.focus();
  }

  /** A key that may only ask learns the models as any client does. */
  async function listForKeys() {
    const { data } = await get("v1/models").catch(() => ({ data: [] }));
    if (!live.state.models && data.length) update({ models: { models: data }, status: null });
  }

  async function choose() {
    sessionStorage.setItem(KEPT_MODEL, choice.value);
    const name = choice.value || live.state.status?.default_model;
    choice.dataset.chosen = name ?? "";
    if (!name || !live.may("metrics")) return;
    const details = await get(`ui/v1/models/${encodeURI(name)}`).catch(() => null);
    settings.showDefaults(details?.sampling ?? {});
  }

  function body() {
    const asked = settings.request();
    if (asked === null) return null;
    const system = settings.system ? [{ role: "system", content: settings.system }] : [];
    return {
      ...(choice.value ? { model: choice.value } : {}),
      messages: [...system, ...conversation.messages],
      ...asked,
      stream: true,
      stream_options: { include_usage: true },
    };
  }

  async function ask() {
    const request = body();
    if (request === null) return;
    const answer = new Answer(() => {});
    running = answer;
    turns.append(turnOf(answer).element);
    showRunning();
    stayAtEnd(true);
    await answer.ask(request);
    if (running === answer) running = null;
    if (answer.text || answer.calls.length || answer.thoughts) conversation.add(messageOf(answer));
    showRunning();
    live.now();
  }

  function turnOf(answer) {
    return new AnswerTurn(answer, { retry, giveResults });
  }

  function submit(event) {
    event.preventDefault();
    const text = input.value.trim();
    if (!text || running || settings.request() === null) return;
    input.value = "";
    grow();
    conversation.add({ role: "user", content: text });
    if (conversation.messages.length === 1) redraw();
    else turns.append(saidTurn(text));
    ask();
  }

  function typed(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    submit(event);
  }

  function retry() {
    if (running) return;
    conversation.dropAnswer();
    redraw();
    ask();
  }

  function giveResults(results) {
    for (const { call, text } of results) {
      conversation.add({ role: "tool", tool_call_id: call.id, content: text });
      turns.append(saidTurn(text, call.name));
    }
    ask();
  }

  function clear() {
    running?.stop();
    conversation.clear();
    redraw();
    input.focus();
  }

  function copyCurl() {
    const request = body();
    if (request === null) return;
    if (!request.messages.length || input.value.trim()) {
      request.messages.push({ role: "user", content: input.value.trim() || "Hello" });
    }
    copy(curl(request, Boolean(key())), curlButton);
  }

  /** Draw the conversation anew, as it was kept. */
  function redraw() {
    if (!conversation.messages.length) {
      fill(turns, h("div", { class: "empty" }, h("p", {}, "Talk to a model."),
        h("p", { class: "muted" }, "Enter sends, Shift+Enter begins a new line, Esc stops an answer.")));
      return;
    }
    const names = new Map(); // of functions, by the call's id
    fill(turns, conversation.messages.map((message) => {
      if (message.role === "user") return saidTurn(message.content);
      if (message.role === "tool") return saidTurn(message.content, names.get(message.tool_call_id) ?? "a function");
      const answer = new Answer(() => {});
      Object.assign(answer, { text: message.content, thoughts: message.reasoning_content ?? "", state: "done" });
      answer.calls = (message.tool_calls ?? []).map((call) => ({ id: call.id, ...call.function }));
      for (const call of answer.calls) names.set(call.id, call.name);
      return turnOf(answer).element;
    }));
  }

  function showRunning() {
    stop.hidden = running === null;
    send.hidden = running !== null;
  }

  function grow() {
    input.style.height = "auto";
    input.style.height = `${Math.min(input.scrollHeight, 240)}px`;
  }

  function stayAtEnd(always = false) {
    const near = turns.scrollHeight - turns.scrollTop - turns.clientHeight < 120;
    if (near || always === true) turns.scrollTop = turns.scrollHeight;
  }

  return { element, update, show };
}
