// The `openai` package for JavaScript, as its documentation has it: node client.mjs URL MODEL

import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none" });
const common = { model, temperature: 0, max_tokens: 60 };
const messages = [{ role: "user", content: "What is the capital of France?" }];
const asked = [{ role: "user", content: "What is the weather in Paris?" }];
const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
};
const weather = { name: "get_weather", description: "Tell the weather in a city.", parameters };
const City = z.object({ name: z.string(), capital: z.boolean() });

const models = [];
for await (const listed of client.models.list()) models.push(listed.id);

const answer = await client.chat.completions.create({ messages, ...common });

const pieces = [];
const stream = await client.chat.completions.create({ messages, stream: true, ...common });
for await (const chunk of stream) pieces.push(chunk.choices[0].delta.content ?? "");

const called = await client.chat.completions.create({
  messages: asked,
  tools: [{ type: "function", function: weather }],
  tool_choice: { type: "function", function: { name: "get_weather" } },
  ...common,
});
const call = called.choices[0].message.tool_calls[0].function;

const withZod = await client.chat.completions.parse({
  messages: asked,
  tools: [zodFunction({ name: "get_weather", parameters: z.object({ city: z.string() }) })],
  tool_choice: "required",
  parallel_tool_calls: false,
  ...common,
});

const streamed = client.chat.completions.stream({
  messages: asked,
  tools: [{ type: "function", function: weather }],
  tool_choice: { type: "function", function: { name: "get_weather" } },
  ...common,
});
const streamedCall = (await streamed.finalMessage()).tool_calls[0].function;

const runner = client.chat.completions.runTools({
  messages: asked,
  tools: [
    {
      type: "function",
      function: {
        ...weather,
        parse: JSON.parse,
        function: ({ city }) => `It is sunny in ${city}.`,
      },
    },
  ],
  tool_choice: { type: "function", function: { name: "get_weather" } },
  ...common,
});
const afterTool = await runner.finalFunctionToolCallResult();

const structured = {
  messages: [{ role: "user", content: "Paris" }],
  response_format: zodResponseFormat(City, "city"),
  ...common,
};
const parsed = await client.chat.completions.parse(structured);
const parsedStream = client.chat.completions.stream(structured);
const streamedAnswer = await parsedStream.finalChatCompletion();

console.log(
  JSON.stringify({
    models,
    chat: answer.choices[0].message.content,
    usage: answer.usage.completion_tokens,
    stream: pieces,
    tool: [call.name, JSON.parse(call.arguments)],
    streamed_tool: [streamedCall.name, JSON.parse(streamedCall.arguments)],
    zod_tool: withZod.choices[0].message.tool_calls[0].function.parsed_arguments,
    after_tool: afterTool,
    schemas: [parsed.choices[0].message.parsed, streamedAnswer.choices[0].message.parsed],
  }),
);
