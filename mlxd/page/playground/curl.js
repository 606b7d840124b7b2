// A request as the command that sends it.

/** Return a curl command that sends `body`; the key stays out of it. */
export function curl(body, needsKey) {
  const url = new URL("v1/chat/completions", document.baseURI);
  const lines = [
    `curl ${quoted(url.href)}`,
    `  -H ${quoted("Content-Type: application/json")}`,
    needsKey ? `  -H "Authorization: Bearer $MLXD_API_KEY"` : null,
    `  -d ${quoted(JSON.stringify(body, null, 2))}`,
  ];
  return lines.filter(Boolean).join(" \\\n");
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
