// The models on disk: load, unload, make one the default, and pull others.

import { get } from "../api.js";
import { h, keep, say } from "../dom.js";
import { count, size } from "../format.js";
import { Task } from "../task.js";
import { pullsPart } from "./pulls.js";

export function modelsView(live) {
  const list = h("ul", { class: "rows", "aria-label": "Installed models" });
  const broken = h("ul", { class: "rows", "aria-label": "Broken models" });
  const empty = h("div", { class: "empty" },
    h("p", {}, "No model is installed yet."),
    h("p", { class: "muted" }, "Pull one above: a name such as mlx-community/SmolLM2-135M-Instruct-4bit."));
  const total = h("p", { class: "muted" });
  const pulls = pullsPart(live);
  const needs = new Map(); // by the model's id: what the daemon estimates of it
  const element = h("div", { class: "view" },
    h("div", { class: "heading" }, h("h1", {}, "Models"), total),
    pulls.element, list, empty, broken);

  async function learn(model) {
    if (needs.has(model.id)) return;
    needs.set(model.id, null);
    try {
      needs.set(model.id, await get(`ui/v1/models/${encodeURI(model.id)}`));
      update(live.state);
    } catch {
      needs.delete(model.id); // it was removed, or mlxd is gone: the next round tells
    }
  }

  function update(state) {
    pulls.update(state);
    const { models, status } = state;
    if (!models || !status) return;
    models.models.forEach(learn);
    const residents = new Map(status.models.filter((each) => !each.adapter).map((each) => [each.id, each]));
    keep(list, models.models, ({ id }) => id, () => makeRow(live),
      (row, model) => row.show(model, needs.get(model.id), residents.get(model.id), status));
    keep(broken, models.broken, ({ id }) => id, makeBroken, changeBroken);
    empty.hidden = models.models.length > 0 || state.pulls.length > 0;
    const bytes = models.models.reduce((sum, model) => sum + model.size_bytes, 0);
    say(total, models.models.length ? `${count(models.models.length)} on this machine, ${size(bytes)}` : "");
  }

  return { element, update };
}

function makeRow(live) {
  const name = h("b", { class: "name" });
  const chip = h("span", { class: "chip" });
  const isDefault = h("span", { class: "chip plain" }, "default");
  const about = h("p", { class: "muted" });
  const need = h("p", { class: "muted" });
  const outcome = h("p", { class: "outcome", role: "status" });
  const button = (text, title, act) => h("button", { type: "button", title, onclick: act }, text);
  const buttons = {
    load: button("Load", "Load it into memory", () => task.run("ui/v1/load", { model: id })),
    unload: button("Unload", "Take it out of memory once its requests have ended", () => task.run("ui/v1/unload", { model: id })),
    use: button("Make default", "Load it, and answer requests that name no model with it", () => task.run("ui/v1/use", { model: id })),
  };
  const talk = h("a", { class: "button" }, "Talk");
  const row = h("li", { class: "card row model" },
    h("div", { class: "grow" }, h("p", { class: "title" }, name, chip, isDefault), about, need, outcome),
    h("div", { class: "buttons" }, talk, Object.values(buttons)));
  let id = "";
  const task = new Task(outcome, () => live.now({ models: true }));

  row.show = (model, details, resident, status) => {
    id = model.id;
    const state = resident?.state ?? model.state;
    const inMemory = state !== "unloaded" && state !== "failed";
    const isDefaultModel = status.default_model === id;
    say(name, id);
    say(chip, state);
    chip.dataset.state = state;
    chip.hidden = state === "unloaded";
    isDefault.hidden = !isDefaultModel;
    say(about, aboutOf(model));
    say(need, needOf(details, status.memory_limit_bytes));
    need.classList.toggle("warn", Boolean(details && status.memory_limit_bytes && details.memory_bytes > status.memory_limit_bytes));
    const mayNot = !live.may("manage") || task.busy || status.stopping;
    buttons.load.hidden = inMemory;
    buttons.unload.hidden = !inMemory;
    buttons.use.hidden = isDefaultModel;
    for (const each of Object.values(buttons)) each.disabled = mayNot;
    talk.href = `#/playground?${encodeURIComponent(id)}`;
  };
  return row;
}

function aboutOf(model) {
  const texts = [model.architecture, model.quantization];
  if (model.context_length) texts.push(`${count(model.context_length)} tokens of context`);
  return texts.filter(Boolean).join(" · ");
}

function needOf(details, limit) {
  if (!details) return "";
  const texts = [`${size(details.size_bytes)} on disk`];
  if (details.memory_bytes) {
    texts.push(`needs about ${size(details.memory_bytes)} of memory with ${count(details.cached_tokens ?? 0)} tokens`);
    if (limit && details.memory_bytes > limit) texts.push(`more than the ${size(limit)} there are for models`);
  }
  return texts.join(" · ");
}

function makeBroken() {
  return h("li", { class: "card row" }, h("div", { class: "grow" },
    h("p", { class: "title" }, h("b", { class: "name" }), h("span", { class: "chip", "data-state": "failed" }, "broken")),
    h("p", { class: "muted" })));
}

function changeBroken(row, model) {
  say(row.querySelector(".name"), model.id);
  say(row.querySelector(".muted"), `${model.fault} · ${size(model.size_bytes)}`);
}
