// The `ollama` package for JavaScript, as its documentation has it: node ollama.mjs URL MODEL

import { Ollama } from "ollama";

const [host, model] = process.argv.slice(2);
const client = new Ollama({ host });
const question = { role: "user", content: "How is the weather in Oslo?" };
const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
};
const weather = { name: "weather", description: "Tell the weather.", parameters };
const ask = { model, messages: [question], tools: [{ type: "function", function: weather }] };

const models = (await client.list()).models.map((listed) => listed.model);
const shown = await client.show({ model });
const version = (await client.version()).version;

const called = await client.chat({ ...ask, think: true });
const pieces = [];
for await (const piece of await client.chat({ ...ask, think: true, stream: true })) {
  pieces.push(piece);
}
const result = { role: "tool", tool_name: "weather", content: "sun" };
const answered = await client.chat({ ...ask, messages: [question, called.message, result] });

const generated = await client.generate({ model, prompt: "Hello", options: { num_predict: 3 } });
const continued = [];
for await (const piece of await client.generate({
  model,
  prompt: "And?",
  context: generated.context,
  stream: true,
})) {
  continued.push(piece.response);
}
const formatted = await client.chat({
  model,
  messages: [{ role: "user", content: "Describe Oslo." }],
  format: parameters,
});
const running = (await client.ps()).models.map((loaded) => loaded.model);

const stream = await client.chat({ model, messages: [question], stream: true });
stream.abort();
let aborted;
try {
  for await (const _ of stream);
} catch (error) {
  aborted = error.name;
}
const refused = await client.chat({ model: "none", messages: [] }).catch((error) => error);

console.log(
  JSON.stringify({
    models,
    capabilities: shown.capabilities,
    version,
    thinking: called.message.thinking,
    calls: called.message.tool_calls.map((call) => call.function),
    streamed: {
      thinking: pieces.map((piece) => piece.message.thinking ?? "").join(""),
      text: pieces.map((piece) => piece.message.content).join(""),
      calls: pieces.flatMap((piece) => piece.message.tool_calls ?? []).map((call) => call.function),
      reason: pieces.at(-1).done_reason,
    },
    answer: answered.message.content,
    generated: generated.response,
    continued: continued.join(""),
    formatted: JSON.parse(formatted.message.content),
    running,
    aborted,
    error: [refused.status_code, refused.error],
  }),
);
