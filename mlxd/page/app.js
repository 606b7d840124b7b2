// The page: its views, the line about the daemon at the top, and what is to be noticed.

import { askForKey, takeToken } from "./access.js";
import { fill, h, icon, say } from "./dom.js";
import { seconds } from "./format.js";
import { Live } from "./live.js";
import { notices } from "./notices.js";
import { logView } from "./views/log.js";
import { modelsView } from "./views/models.js";
import { playgroundView } from "./views/playground.js";
import { requestsView } from "./views/requests.js";
import { statusView } from "./views/status.js";

const VIEWS = {
  status: { title: "Status", make: statusView, drawing: "M4 19V5M4 19h16M8 15l4-5 3 3 5-7" },
  models: { title: "Models", make: modelsView, drawing: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9" },
  playground: { title: "Playground", make: playgroundView, drawing: "M4 5h16v11H10l-5 4v-4H4z" },
  requests: { title: "Requests", make: requestsView, drawing: "M4 6h16M4 12h16M4 18h10" },
  log: { title: "Log", make: logView, drawing: "M5 4h14v16H5zM8 9l3 3-3 3M13 15h3" },
};

const found = (id) => document.getElementById(id);

function start() {
  takeToken();
  const live = new Live(changed);
  const views = {};
  let shown = null;

  fill(found("nav"), Object.entries(VIEWS).map(([name, { title, drawing }]) =>
    h("a", { href: `#/${name}`, "data-view": name }, icon(drawing), h("span", {}, title))));

  function show() {
    const name = location.hash.slice(2).split("?")[0];
    const wanted = name in VIEWS ? name : "status";
    if (takeToken()) live.now();
    if (wanted === shown) return;
    views[shown]?.hide?.();
    shown = wanted;
    views[shown] ??= VIEWS[shown].make(live);
    fill(found("main"), views[shown].element);
    for (const link of found("nav").children) {
      if (link.dataset.view === shown) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${VIEWS[shown].title} · mlxd`;
    views[shown].show?.();
    views[shown].update(live.state);
  }

  function changed(state) {
    if (state.trouble?.status === 401) askForKey(state.trouble.message).then(() => live.now());
    showDaemon(state);
    notices(found("notices"), live);
    views[shown]?.update(state);
  }

  window.addEventListener("hashchange", show);
  show();
  live.now();
}

function showDaemon({ status, trouble }) {
  const line = found("daemon");
  const [kind, text] = trouble?.status === 0 ? ["bad", "not reachable"]
    : !status ? ["", ""]
    : status.stopping ? ["warn", "stopping"]
    : ["good", `${status.version} · up ${seconds(Math.max(1, Math.round(status.uptime_s)))}`];
  if (!line.firstChild) line.append(h("i", {}), h("span", {}));
  line.dataset.kind = kind;
  say(line.lastChild, text);
}

start();
