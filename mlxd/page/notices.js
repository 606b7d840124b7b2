// Lines above the view: what keeps the page, or the daemon, from doing all it could.

import { key } from "./api.js";
import { h, keep, say } from "./dom.js";

/** Show what is to be noticed now. */
export function notices(place, live) {
  const lines = [...found(live)].map(([kind, text]) => ({ kind, text }));
  keep(place, lines, ({ text }) => text, ({ kind }) => h("p", { class: `notice ${kind}` }),
    (line, { text }) => say(line, text));
}

function* found(live) {
  const { caller, status, trouble, models } = live.state;
  if (trouble && trouble.status !== 401) {
    yield ["bad", trouble.status === 0
      ? "mlxd does not answer. This page asks again every two seconds."
      : trouble.message];
  }
  if (!caller) return;
  if (!live.may("metrics")) {
    const rest = live.may("ask") ? " The playground is open to it." : "";
    yield ["info", `The key “${caller.name}” may not see what this daemon does.${rest}`];
  }
  if (status?.stopping) yield ["warn", "mlxd is stopping: it finishes its requests and accepts no new ones."];
  if (status?.default_fault && models?.models.length) yield ["warn", status.default_fault];
  if (caller.name === "anyone" && key()) {
    yield ["warn", "This page was opened for an earlier run of mlxd. To change something here, open it again: mlxctl open"];
  } else if (!live.may("manage") && !live.may("pull")) {
    yield ["info", caller.name === "anyone"
      ? "Look and talk as you like. To load, unload or pull models here, open this page with: mlxctl open"
      : `The key “${caller.name}” may not change what this daemon does.`];
  }
}
