// Downloads from the hub: start one, watch those that run, cancel.

import { ApiError, follow, post } from "../api.js";
import { h, keep, say } from "../dom.js";
import { percent, seconds, size } from "../format.js";

export function pullsPart(live) {
  const list = h("ul", { class: "rows", "aria-label": "Downloads" });
  const outcome = h("p", { class: "outcome bad", role: "alert" });
  const input = h("input", {
    id: "pull-name", type: "text", placeholder: "mlx-community/Qwen3-0.6B-4bit", autocomplete: "off",
    autocapitalize: "none", spellcheck: "false",
  });
  const button = h("button", { type: "submit", class: "primary" }, "Pull");
  const form = h("form", { class: "pull", onsubmit: submit },
    h("label", { for: "pull-name" }, "Pull a model from Hugging Face"),
    h("div", { class: "line" }, input, button));
  const element = h("div", { class: "pulls" }, h("div", { class: "card" }, form, outcome), list);
  const newest = new Map(); // by model: what its stream said last, newer than what `live` knows

  function submit(event) {
    event.preventDefault();
    const name = input.value.trim();
    if (!name) {
      input.focus();
      return;
    }
    pull(name, () => { input.value = ""; });
  }

  async function pull(name, accepted = () => {}) {
    say(outcome, "");
    try {
      await follow("ui/v1/pull", { model: name, stream: true }, {
        data({ progress }) {
          accepted();
          if (!progress) return;
          newest.set(progress.model, progress);
          update(live.state);
        },
      });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      say(outcome, error.message);
    } finally {
      newest.clear();
      live.now({ models: true });
    }
  }

  async function cancel(name) {
    try {
      await post("ui/v1/pull/cancel", { model: name });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      say(outcome, error.message);
    }
    newest.delete(name);
    live.now({ models: true });
  }

  function update({ pulls, status }) {
    const known = new Map([...pulls.map((each) => [each.model, each]), ...newest]);
    const may = live.may("pull") && !status?.stopping;
    input.disabled = button.disabled = !may;
    keep(list, [...known.values()], ({ model }) => model, () => makeRow(pull, cancel), (row, each) => row.show(each, may));
  }

  return { element, update };
}

function makeRow(pull, cancel) {
  const name = h("b", { class: "name" });
  const chip = h("span", { class: "chip" });
  const about = h("p", { class: "muted" });
  const bar = h("progress", { max: 1 });
  const again = h("button", { type: "button", onclick: () => pull(model) }, "Try again");
  const stop = h("button", { type: "button", onclick: () => cancel(model) }, "Cancel");
  const row = h("li", { class: "card row" },
    h("div", { class: "grow" }, h("p", { class: "title" }, name, chip), bar, about),
    h("div", { class: "buttons" }, again, stop));
  let model = "";

  row.show = (status, may) => {
    ({ model } = status);
    const failed = status.state === "failed";
    say(name, model);
    say(chip, status.state);
    chip.dataset.state = failed ? "failed" : "loading";
    bar.setAttribute("aria-label", `Download of ${model}`);
    bar.hidden = failed;
    if (status.bytes_total) bar.value = status.bytes_done / status.bytes_total;
    else bar.removeAttribute("value");
    say(about, aboutOf(status));
    again.hidden = !failed;
    say(stop, failed ? "Remove" : "Cancel");
    again.disabled = stop.disabled = !may;
  };
  return row;
}

function aboutOf({ bytes_done: done, bytes_total: total, bytes_per_second: speed, file, cause }) {
  const texts = [];
  if (cause) texts.push(cause);
  if (total) texts.push(`${size(done)} of ${size(total)} (${percent(done / total)})`);
  if (speed) texts.push(`${size(speed)}/s`, `${seconds((total - done) / speed)} left`);
  if (file && !cause) texts.push(file);
  return texts.join(" · ");
}
