// The Responses API with the `openai` package for JavaScript: node responses.mjs URL MODEL

import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none" });
const City = z.object({ name: z.string(), capital: z.boolean() });
const ask = { model, input: "Hi", max_output_tokens: 30 };
const structured = { model, input: "Hi", text: { format: zodTextFormat(City, "city") } };

const whole = await client.responses.create(ask);

const events = [];
for await (const event of await client.responses.create({ ...ask, stream: true })) {
  events.push(event);
}

const parsed = await client.responses.parse(structured);
const stream = client.responses.stream(structured);
const streamed = await stream.finalResponse();

const started = await client.responses.create({ ...ask, background: true, stream: true });
let id, last;
for await (const event of started) {
  id ??= event.response?.id;
  last = event.sequence_number;
  if (event.type === "response.output_text.delta") break;
}
const rest = [];
for await (const event of await client.responses.retrieve(id, {
  stream: true,
  starting_after: last,
})) {
  rest.push(event.sequence_number);
}
const later = await client.responses.retrieve(id);
const items = [];
for await (const item of client.responses.inputItems.list(id)) items.push(item.content[0].text);
await client.responses.delete(id);
const gone = await client.responses.retrieve(id).catch((error) => error.status);

console.log(
  JSON.stringify({
    text: whole.output_text,
    deltas: events.filter((e) => e.type === "response.output_text.delta").map((e) => e.delta),
    schemas: [parsed.output_parsed, streamed.output_parsed],
    joined: [last + 1, rest[0], rest.length],
    later: [later.status, later.output_text],
    items,
    gone,
  }),
);
