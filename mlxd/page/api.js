// Requests to the daemon that this page is from. A key, if there is one, goes with each.

const KEY = "mlxd.key";

/** An answer that is an error, or none at all (status 0). */
export class ApiError extends Error {
  constructor(message, status, code = null) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The key or token that this tab sends; it lasts as long as the tab. */
export const key = () => sessionStorage.getItem(KEY);

export function setKey(text) {
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
}

/** Return the JSON of a reply. */
export async function get(path) {
  return (await answer("GET", path)).json();
}

/** Send a body and return the JSON of the reply. */
export async function post(path, body) {
  return (await answer("POST", path, body)).json();
}

/**
 * Send a body and follow the reply's server-sent events: `data` gets the object of each,
 * `comment` what the daemon says between them, such as "loading 41%".
 */
export async function follow(path, body, { data, comment = () => {}, signal }) {
  const reply = await answer("POST", path, body, signal);
  for await (const line of lines(reply.body)) {
    if (line.startsWith(":")) comment(line.slice(1).trim());
    if (!line.startsWith("data:")) continue;
    const text = line.slice(5).trim();
    if (text === "[DONE]") return;
    const event = JSON.parse(text);
    if (event.error) throw new ApiError(event.error.message, reply.status, event.error.code);
    data(event);
  }
}

async function answer(method, path, body, signal) {
  const headers = {};
  if (key()) headers.Authorization = `Bearer ${key()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let reply;
  try {
    reply = await fetch(path, { method, headers, signal, body: JSON.stringify(body), cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("mlxd does not answer", 0);
  }
  if (reply.ok) return reply;
  throw await refusal(reply);
}

async function refusal(reply) {
  let error = {};
  try {
    error = (await reply.json()).error ?? {};
  } catch {
    // A proxy in between may answer with something else.
  }
  return new ApiError(error.message ?? `the reply has the status ${reply.status}`, reply.status, error.code);
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
  if (rest) yield rest;
}
