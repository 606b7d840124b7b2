// The `@anthropic-ai/sdk` package, as its documentation has it: node anthropic.mjs URL MODEL

import Anthropic, { BadRequestError, NotFoundError } from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";
import { jsonSchemaOutputFormat } from "@anthropic-ai/sdk/helpers/json-schema";

const [baseURL, model] = process.argv.slice(2);
const client = new Anthropic({ baseURL, apiKey: "none", maxRetries: 0 });
const question = { role: "user", content: "How is the weather in Oslo?" };
const inputSchema = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const weather = { name: "weather", description: "Tell the weather.", input_schema: inputSchema };
const ask = { model, max_tokens: 4096, messages: [question], tools: [weather] };
const thinking = { type: "enabled", budget_tokens: 1024 };

const models = [];
for await (const listed of client.models.list()) models.push(listed.id);

const counted = await client.messages.countTokens({ model, messages: [question] });

const events = [];
for await (const event of await client.messages.create({ ...ask, stream: true })) {
  events.push(event.type);
}

const heard = { text: [], thinking: [], inputJson: [], contentBlock: [] };
const stream = client.messages.stream({ ...ask, thinking });
for (const name of Object.keys(heard)) stream.on(name, (piece) => heard[name].push(piece));
const called = await stream.finalMessage();

const result = { type: "tool_result", tool_use_id: called.content.at(-1).id, content: "sun" };
const answered = client.messages.stream({
  ...ask,
  thinking,
  messages: [question, { role: "assistant", content: called.content }, { role: "user", content: [result] }],
});
const answer = await answered.finalText();

const cities = [];
const runnable = betaTool({
  name: "weather",
  description: "Tell the weather.",
  inputSchema,
  run: ({ city }) => {
    cities.push(city);
    return "sun";
  },
});
const run = (stream) =>
  client.beta.messages.toolRunner({ ...ask, tools: [runnable], stream, max_iterations: 5 });
const last = await run(false);
const streamed = [];
for await (const turn of run(true)) streamed.push((await turn.finalMessage()).stop_reason);

const parsed = await client.messages.parse({
  model,
  max_tokens: 100,
  messages: [{ role: "user", content: "Describe Oslo." }],
  output_config: { format: jsonSchemaOutputFormat(inputSchema) },
});

const refused = async (change, kind) => {
  const error = await client.messages.create({ ...ask, ...change }).catch((error) => error);
  return [error instanceof kind, error.status, error.error.error.type, error.requestID !== null];
};

console.log(
  JSON.stringify({
    models,
    counted: counted.input_tokens,
    prompt: called.usage.input_tokens,
    events,
    text: heard.text.join(""),
    thinking: heard.thinking.join(""),
    input: heard.inputJson.join(""),
    blocks: heard.contentBlock,
    content: called.content,
    stop_reason: called.stop_reason,
    answer,
    runner: [last.content.at(-1).text, streamed, cities],
    parsed: parsed.parsed_output,
    errors: [
      await refused({ model: "none" }, NotFoundError),
      await refused({ max_tokens: 0 }, BadRequestError),
    ],
  }),
);
