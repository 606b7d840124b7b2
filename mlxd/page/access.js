// Who we are: the token that `mlxctl open` puts into the address, or a key that somebody types.

import { key, setKey } from "./api.js";
import { h } from "./dom.js";

/** Take the token out of the address, if there is one; return whether there was. */
export function takeToken() {
  const token = /^#token=([\w-]+)/.exec(location.hash)?.[1];
  if (!token) return false;
  setKey(token);
  history.replaceState(null, "", `${location.pathname}#/status`);
  return true;
}

let asking = null;

/** Ask for a key; the promise is kept when there is one. A second call waits for the same. */
export function askForKey(reason) {
  asking ??= ask(reason).finally(() => { asking = null; });
  return asking;
}

function ask(reason) {
  return new Promise((resolve) => {
    const input = h("input", {
      id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true,
    });
    const form = h("form", { method: "dialog" },
      h("h2", {}, "This daemon wants a key"),
      h("p", { class: "muted" }, key() ? `It did not take the last one: ${reason}` : [
        "Type one that ", h("code", {}, "mlxctl key create"), " gave, or server.api_key. On the machine itself, ",
        h("code", {}, "mlxctl open"), " opens this page with all rights."]),
      h("label", { for: "key" }, "API key"),
      input,
      h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Use this key")));
    const dialog = h("dialog", { class: "ask", "aria-labelledby": "ask-title" }, form);
    form.querySelector("h2").id = "ask-title";
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      setKey(input.value.trim());
      dialog.close();
    });
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve();
    });
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}
