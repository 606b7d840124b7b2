"""Functions, calls and results in a conversation whose template knows none of them."""

import json
from itertools import groupby
from typing import Any

from mlxd.engine.tools import HERMES

_TOLD = """\
You can call functions. Each line is one of them, as JSON:
<tools>
{tools}
</tools>
To call one, write its name and its arguments as JSON, in this form and with nothing around it:
{start}
{{"name": "a_name", "arguments": {{"an_argument": "its value"}}}}
{end}
The result comes as the next message, in <tool_response></tool_response>."""
_RESULT_ROLES = ("tool", "function")

Chat = list[dict[str, Any]]


def tell(messages: Chat, tools: list[dict[str, Any]]) -> Chat:
    """Give the conversation in plain messages, with `tools`, where there are any, at its top.

    Contents are texts, and the arguments of past calls texts of JSON. Results that follow one
    another become one message, as roles have to alternate for some templates.
    """
    told: Chat = []
    for are_results, group in groupby(messages, lambda message: message["role"] in _RESULT_ROLES):
        if are_results:
            results = [f"<tool_response>\n{m['content']}\n</tool_response>" for m in group]
            told.append({"role": "user", "content": "\n".join(results)})
        else:
            told += map(_with_calls_as_text, group)
    return _with_tools(told, tools) if tools else told


def _with_tools(messages: Chat, tools: list[dict[str, Any]]) -> Chat:
    text = _TOLD.format(
        tools="\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools),
        start=HERMES.start,
        end=HERMES.end,
    )
    if messages and messages[0]["role"] == "system":
        first = messages[0]
        return [{**first, "content": f"{first['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _with_calls_as_text(message: dict[str, Any]) -> dict[str, Any]:
    if not message.get("tool_calls"):
        return message
    calls = [_written(call["function"]) for call in message["tool_calls"]]
    plain = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**plain, "content": "\n".join(filter(None, [message["content"], *calls]))}


def _written(function: dict[str, Any]) -> str:
    name = json.dumps(function["name"])
    return f'{HERMES.start}\n{{"name": {name}, "arguments": {function["arguments"]}}}\n{HERMES.end}'
