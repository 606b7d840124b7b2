// The end of the daemon's log.

import { ApiError, get } from "../api.js";
import { h, say } from "../dom.js";

const PAUSE_MS = 2000;

export function logView(live) {
  const text = h("pre", { class: "log", tabindex: "0", "aria-label": "The last lines of the log" });
  const file = h("p", { class: "muted" });
  const filter = h("input", { type: "search", placeholder: "Only lines with …", "aria-label": "Only lines with", oninput: () => write() });
  const follow = h("input", { type: "checkbox", checked: true, onchange: () => { if (follow.checked) read(); } });
  const element = h("div", { class: "view log-view" },
    h("div", { class: "heading" }, h("h1", {}, "Log"), file,
      h("div", { class: "tools" }, filter, h("label", {}, follow, " Follow"))),
    h("div", { class: "card" }, text));
  let lines = [];
  let timer = 0;
  let shown = false;

  function write() {
    const wanted = filter.value.toLowerCase();
    const chosen = wanted ? lines.filter((line) => line.toLowerCase().includes(wanted)) : lines;
    const atEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
    say(text, chosen.length ? chosen.join("\n") : lines.length ? "No line has that." : "There is nothing in this file: mlxd may log elsewhere.");
    if (atEnd) text.scrollTop = text.scrollHeight;
  }

  async function read() {
    clearTimeout(timer);
    if (!shown || !live.may("manage")) return;
    try {
      const tail = await get("ui/v1/log");
      lines = tail.lines;
      say(file, tail.file);
      write();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      say(file, error.message);
    }
    if (shown && follow.checked) timer = setTimeout(read, PAUSE_MS);
  }

  return {
    element,
    show() {
      shown = true;
      read();
    },
    hide() {
      shown = false;
      clearTimeout(timer);
    },
    update({ caller }) {
      if (!caller || live.may("manage")) {
        if (!lines.length) read();
        return;
      }
      say(text, "To read the log here, open this page with: mlxctl open");
    },
  };
}
