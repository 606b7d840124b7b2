"""`litellm`, as its documentation has it: python litellm_client.py URL MODEL."""

import json
import sys

from litellm import completion
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
called = completion(
    messages=asked, tools=tools, tool_choice="required", parallel_tool_calls=False, **common
)
call = called.choices[0].message.tool_calls[0].function
schema = completion(messages=[{"role": "user", "content": "Paris"}], response_format=City, **common)
print(
    json.dumps(
        {
            "chat": answer.choices[0].message.content,
            "usage": answer.usage.completion_tokens,
            "stream": pieces,
            "tool": [call.name, json.loads(call.arguments)],
            "finish_reason": called.choices[0].finish_reason,
            "schemas": [json.loads(schema.choices[0].message.content)],
        }
    )
)
