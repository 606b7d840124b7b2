"""`litellm`, as its documentation has it: python litellm_client.py URL MODEL."""

import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks GitHub for prices

from litellm import completion, stream_chunk_builder
from pydantic import BaseModel

url, model = sys.argv[1:]
common = {
    "model": f"openai/{model}",
    "api_base": url,
    "api_key": "none",
    "temperature": 0,
    "max_tokens": 60,
}
question = [{"role": "user", "content": "What is the capital of France?"}]
asked = [{"role": "user", "content": "What is the weather in Paris?"}]
tools = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tell the weather in a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


class City(BaseModel):
    """A city."""

    name: str
    capital: bool


answer = completion(messages=question, **common)
pieces = [
    chunk.choices[0].delta.content or ""
    for chunk in completion(messages=question, stream=True, **common)
]
calling = {"tools": tools, "tool_choice": "required", "parallel_tool_calls": False}
called = completion(messages=asked, **calling, **common)
(call,) = called.choices[0].message.tool_calls
result = {"role": "tool", "tool_call_id": call.id, "content": "It is sunny in Paris."}
after = completion(messages=[*asked, called.choices[0].message, result], tools=tools, **common)
streamed = stream_chunk_builder(list(completion(messages=asked, stream=True, **calling, **common)))
(streamed_call,) = streamed.choices[0].message.tool_calls
schema = completion(messages=[{"role": "user", "content": "Paris"}], response_format=City, **common)
print(
    json.dumps(
        {
            "chat": answer.choices[0].message.content,
            "usage": answer.usage.completion_tokens,
            "stream": pieces,
            "tool": [call.function.name, json.loads(call.function.arguments)],
            "streamed_tool": [
                streamed_call.function.name,
                json.loads(streamed_call.function.arguments),
            ],
            "after_tool": after.choices[0].message.content,
            "finish_reason": called.choices[0].finish_reason,
            "schemas": [json.loads(schema.choices[0].message.content)],
        }
    )
)
