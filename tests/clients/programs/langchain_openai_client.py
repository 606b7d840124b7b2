"""`langchain-openai`, as its documentation has it: python langchain_openai_client.py URL MODEL."""

import json
import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

url, model_name = sys.argv[1:]
model = ChatOpenAI(
    base_url=url, api_key="none", model=model_name, temperature=0, max_completion_tokens=60
)
question = "What is the capital of France?"


@tool
def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"It is sunny in {city}."


class City(BaseModel):
    """A city."""

    name: str
    capital: bool


answer = model.invoke(question)
pieces = [chunk.content for chunk in model.stream(question)]

with_tools = model.bind_tools([get_weather], tool_choice="get_weather")
asked = [HumanMessage("What is the weather in Paris?")]
called = with_tools.invoke(asked)
(call,) = called.tool_calls
result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
after = model.bind_tools([get_weather]).invoke([*asked, called, result])
streamed = None
for chunk in with_tools.stream(asked):
    streamed = chunk if streamed is None else streamed + chunk

schemas = [
    model.with_structured_output(City, method=method).invoke("Paris").model_dump()
    for method in ("json_schema", "function_calling")
]
print(
    json.dumps(
        {
            "chat": answer.content,
            "usage": answer.usage_metadata["output_tokens"],
            "stream": pieces,
            "tool": [call["name"], call["args"]],
            "streamed_tool": [streamed.tool_calls[0]["name"], streamed.tool_calls[0]["args"]],
            "after_tool": after.content,
            "schemas": schemas,
        }
    )
)
