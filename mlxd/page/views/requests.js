// The last requests that asked a model: who, what for, how long. Their texts are nowhere.

import { h, keep, say } from "../dom.js";
import { clock, count, rate, seconds } from "../format.js";

const orDash = (value, write) => (value === null || value === undefined ? "–" : write(value));

const COLUMNS = [
  ["Time", (each) => clock(each.at)],
  ["Model", (each) => (each.adapter ? `${each.model} + ${each.adapter}` : each.model ?? "–")],
  ["API", (each) => each.dialect],
  ["From", (each) => each.caller],
  ["State", (each) => (each.error ? `${each.state}: ${each.error}` : each.state)],
  ["Prompt", (each) => orDash(each.prompt_tokens, count) + (each.cached_tokens ? ` (${count(each.cached_tokens)} cached)` : "")],
  ["Answer", (each) => orDash(each.completion_tokens, count)],
  ["Queue", (each) => orDash(each.queue_s, seconds)],
  ["First token", (each) => orDash(each.first_token_s, seconds)],
  ["Total", (each) => orDash(each.total_s, seconds)],
  ["Tokens/s", (each) => orDash(each.tokens_per_second, rate)],
];

export function requestsView() {
  const rows = h("tbody");
  const empty = h("div", { class: "empty" }, h("p", {}, "Nobody has asked a model yet."));
  const table = h("table", { class: "requests" },
    h("thead", {}, h("tr", {}, COLUMNS.map(([name]) => h("th", { scope: "col" }, name)))), rows);
  const element = h("div", { class: "view" },
    h("div", { class: "heading" }, h("h1", {}, "Requests"), h("p", { class: "muted" }, "The last 200, without their texts")),
    h("div", { class: "card scroll" }, table), empty);

  function update({ activity }) {
    if (!activity) return;
    keep(rows, activity.requests, ({ id, at }) => `${id} ${at}`, makeRow, changeRow);
    table.parentElement.hidden = !activity.requests.length;
    empty.hidden = activity.requests.length > 0;
  }

  return { element, update };
}

function makeRow(request) {
  return h("tr", { title: request.id }, COLUMNS.map(([name]) => h("td", { "data-name": name })));
}

function changeRow(row, request) {
  row.dataset.state = request.state;
  COLUMNS.forEach(([, write], index) => say(row.children[index], write(request)));
}
