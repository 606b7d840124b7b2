// What the daemon does now, the models in memory, and the last hour as plots.

import { fill, h, keep, say } from "../dom.js";
import { count, percent, rate, seconds, size, things } from "../format.js";
import { Plot } from "../plots.js";

const MINUTE = 60;
const HOUR = 3600;
const SPANS = { "2 min": 120, "10 min": 600, "1 hour": HOUR };

export function statusView(live) {
  const tiles = h("div", { class: "tiles" });
  const resident = h("ul", { class: "rows", "aria-label": "Models in memory" });
  const none = h("div", { class: "empty" });
  let span = 600;
  const buttons = Object.entries(SPANS).map(([name, length]) =>
    h("button", { type: "button", "aria-pressed": String(length === span), onclick: () => choose(length) }, name));
  const plots = makePlots();
  const element = h("div", { class: "view" },
    h("h1", { class: "unseen" }, "Status"),
    tiles,
    h("h2", {}, "In memory"), resident, none,
    h("div", { class: "heading" }, h("h2", {}, "History"), h("div", { class: "choice", role: "group", "aria-label": "Time shown" }, buttons)),
    h("div", { class: "plots" }, Object.values(plots).map((plot) => plot.element)));

  function choose(length) {
    span = length;
    Object.values(SPANS).forEach((each, index) => buttons[index].setAttribute("aria-pressed", String(each === span)));
    showPlots(plots, live.state, span);
  }

  function update(state) {
    if (!state.status || !state.activity) return;
    keep(tiles, tileTexts(state), ({ name }) => name, makeTile, changeTile);
    const models = state.status.models.filter((model) => model.state !== "unloaded" || model.queued);
    keep(resident, models, ({ id, adapter }) => `${id} ${adapter}`, makeResident, changeResident);
    none.hidden = models.length > 0;
    if (!models.length) sayNone(none, state);
    showPlots(plots, state, span);
  }

  return { element, update };
}

function tileTexts({ status, activity, history }) {
  const memory = status.models.reduce((sum, model) => sum + (model.memory_bytes ?? 0), 0);
  const limit = status.memory_limit_bytes;
  const [cached, read] = [history.sum("cached_tokens", HOUR), history.sum("prompt_tokens", HOUR)];
  const first = history.mean("first_token_s", MINUTE) ?? history.mean("first_token_s", HOUR);
  return [
    { name: "Speed", value: rate(activity.generated_per_second), unit: "tokens/s", note: `reads ${rate(activity.prompt_per_second)} tokens/s` },
    { name: "Running", value: count(activity.running), unit: "", note: activity.waiting ? `${count(activity.waiting)} waiting` : "none waiting" },
    { name: "First token", value: first === null ? "–" : seconds(first), unit: "", note: first === null ? "no answer yet" : "mean" },
    { name: "Memory", value: size(memory), unit: "", note: limit ? `of ${size(limit)}` : "", share: limit ? memory / limit : 0 },
    { name: "Cache hits", value: cached + read ? percent(cached / (cached + read)) : "–", unit: "", note: `of ${things(cached + read, "token")}` },
    { name: "Requests", value: count(activity.requests_total), unit: "", note: activity.failed_total ? `${count(activity.failed_total)} failed` : "none failed" },
  ];
}

function makeTile({ name, share }) {
  return h("div", { class: "card tile" },
    h("h3", {}, name), h("p", { class: "value" }, h("b", {}), " ", h("span", {})), h("p", { class: "muted" }),
    share === undefined ? null : h("meter", { min: 0, max: 1, high: 0.9, "aria-label": `${name} in use` }));
}

function changeTile(tile, { value, unit, note, share }) {
  say(tile.querySelector("b"), value);
  say(tile.querySelector("span"), unit);
  say(tile.querySelector(".muted"), note);
  if (share !== undefined) tile.querySelector("meter").value = share;
}

function makeResident() {
  return h("li", { class: "card row resident" },
    h("div", { class: "grow" }, h("b", { class: "name" }), h("p", { class: "muted" })),
    h("span", { class: "chip" }),
    h("div", { class: "gauge" }, h("meter", { min: 0, max: 1, high: 0.95, "aria-label": "Memory in use" }), h("p", { class: "muted" })));
}

function changeResident(row, model) {
  const [about, memory] = row.querySelectorAll(".muted");
  const chip = row.querySelector(".chip");
  say(row.querySelector(".name"), model.adapter ? `${model.id} with ${model.adapter}` : model.id);
  say(about, facts(model).join(" · "));
  chip.dataset.state = model.state;
  say(chip, model.load_progress === null ? model.state : `${model.state} ${percent(model.load_progress)}`);
  const { memory_bytes: taken, memory_limit_bytes: limit } = model;
  row.querySelector("meter").value = taken && limit ? taken / limit : 0;
  say(memory, taken ? `${size(taken)}${limit ? ` of ${size(limit)}` : ""}` : "");
}

function facts(model) {
  if (model.cause) return [model.cause];
  const texts = [model.requests ? things(model.requests, "request") : "idle"];
  if (model.queued) texts.push(`${count(model.queued)} queued`);
  if (model.tokens_per_second) texts.push(`${rate(model.tokens_per_second)} tokens/s`);
  if (model.prompt_cache_bytes) texts.push(`prompt cache ${size(model.prompt_cache_bytes)}`);
  if (model.expires_in_s !== null) texts.push(`unloads in ${seconds(model.expires_in_s)}`);
  else if (model.pinned) texts.push("pinned");
  return texts;
}

function sayNone(none, { models, status }) {
  if (none.dataset.models === String(models?.models.length)) return;
  none.dataset.models = String(models?.models.length);
  if (models && !models.models.length) {
    fill(none, h("p", {}, "No model is installed yet."),
      h("p", {}, h("a", { class: "button primary", href: "#/models" }, "Pull one")));
  } else {
    fill(none, h("p", {}, `No model is in memory. The next request loads the one it asks for${status.default_model ? `, by default ${status.default_model}` : ""}.`));
  }
}

function makePlots() {
  const blue = { color: "--plot-1", fill: true };
  const time = { write: seconds, least: 0.01 };
  return {
    speed: new Plot("Tokens per second", [{ label: "generated", ...blue }], { write: rate, axis: short, least: 10 }),
    first: new Plot("First token", [{ label: "mean", color: "--plot-2", dots: true }], time),
    queue: new Plot("Requests", [{ label: "running", ...blue }, { label: "waiting", color: "--plot-3" }], { write: count, axis: wholes, least: 4 }),
    memory: new Plot("Memory", [{ label: "engines", color: "--plot-4", fill: true }, { label: "prompt cache", color: "--plot-2" }], { write: size, least: 1e6 }),
    hits: new Plot("Cache hits", [{ label: "share", color: "--plot-5", dots: true, fill: true }], { write: percent, most: 1 }),
    gap: new Plot("Between tokens", [{ label: "mean", color: "--plot-3", dots: true }], time),
  };
}

const short = (value) => (Number.isInteger(value) ? count(value) : value.toFixed(1));
const wholes = (value) => (Number.isInteger(value) ? count(value) : "");

function showPlots(plots, { history }, span) {
  const { times, column } = history.last(span);
  if (!times.length) return;
  const per = (values) => values.map((value) => value / history.step);
  const [cached, read] = [column("cached_tokens"), column("prompt_tokens")];
  const hits = cached.map((value, index) => (value + read[index] ? value / (value + read[index]) : null));
  plots.speed.show([times, per(column("generated_tokens"))]);
  plots.first.show([times, column("first_token_s")]);
  plots.queue.show([times, column("running"), column("waiting")]);
  plots.memory.show([times, column("memory_bytes"), column("prompt_cache_bytes")]);
  plots.hits.show([times, hits]);
  plots.gap.show([times, column("inter_token_s")]);
}
