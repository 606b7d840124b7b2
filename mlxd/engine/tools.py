"""Function calls: how a model is told about functions, writes calls, and has them read."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mlx_lm.tool_parsers import json_tools

from mlxd.engine.prompts import CONTENT_ERRORS, uses_template
from mlxd.engine.structured_output import Part
from mlxd.messages import Grammar, Template, ToolUse

_INSTRUCTIONS = """\
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


@dataclass(frozen=True)
class Call:
    """A call of a function; `arguments` is the text of a JSON object."""

    name: str
    arguments: str
    call_id: str | None = None


@dataclass(frozen=True)
class ToolFormat:
    """How one family of models writes calls: between the marks `start` and `end`.

    With an `end` of "", the end of the answer ends the call. `native` says that the template
    describes functions to the model, and renders calls and results in the conversation.
    """

    start: str
    end: str
    parse: Callable[[str, Any], Any]
    native: bool


HERMES = ToolFormat(
    json_tools.tool_call_start,
    json_tools.tool_call_end,
    json_tools.parse_tool_call,
    native=False,
)
"""The format for a model whose own template does not support functions."""


def tool_format(tokenizer: Any, template: Template) -> ToolFormat:
    """Return how calls are written in a conversation that is rendered with `template`."""
    if tokenizer.has_tool_calling and supports_tools(tokenizer, template):
        return ToolFormat(
            tokenizer.tool_call_start, tokenizer.tool_call_end, tokenizer.tool_parser, native=True
        )
    return HERMES


def supports_tools(tokenizer: Any, template: Template) -> bool:
    """Return whether the template that renders a conversation supports functions."""
    if not uses_template(tokenizer, template):
        return False
    source = template.source or tokenizer.chat_template
    if source is None:
        return bool(tokenizer.has_chat_template)  # rendered by the model's own code
    sources = source.values() if isinstance(source, dict) else [source]
    return any(re.search(r"\btools\b", text) for text in sources)


class AllowedCalls:
    """The calls that an answer may have: how they are written, read and constrained."""

    def __init__(self, form: ToolFormat, use: ToolUse) -> None:
        self.form = form
        self.required = use.choice == "required" or use.name is not None
        self.only_one = use.name is not None or not use.parallel
        self._use = use

    def read(self, text: str) -> list[Call]:
        """Return the calls in the text between two marks, none if the text is not valid."""
        try:
            parsed = _parse_json(text) or self.form.parse(text, self._use.functions)
            calls = [_call(call) for call in (parsed if isinstance(parsed, list) else [parsed])]
        except CONTENT_ERRORS:
            return []
        return calls[:1] if self.only_one else calls

    def as_text(self, text: str, *, ended: bool) -> str:
        """Return text that is not a call as the model wrote it; `ended`: with the end mark."""
        return self.form.start + text + (self.form.end if ended else "")

    def rule(self, encode: Callable[[str], list[int]]) -> tuple[str, list[Part]]:
        """Return the Lark rule `calls`, for an answer that must call, and the parts it refers to.

        Calls are written as JSON between the marks, whatever format the model was trained on: the
        schema of the arguments can constrain that, and `read` reads it for every model. The marks
        are the tokens that `encode` returns, as the model knows them.
        """
        start, end = (
            " ".join(f"<[{token}]>" for token in encode(mark))
            for mark in (self.form.start, self.form.end)
        )
        wanted = [
            (index, tool["function"])
            for index, tool in enumerate(self._use.functions)
            if self._use.name in (None, tool["function"]["name"])
            and (self._use.allowed is None or tool["function"]["name"] in self._use.allowed)
        ]
        lines = ["one: " + " | ".join(f"call_{index}" for index, _ in wanted)]
        if self.form.end:
            more = "" if self.only_one else " (/\\s{0,2}/ call)*"
            lines += [f'call: {start} "\\n" one "\\n" {end}', f"calls: call{more}"]
        else:
            more = "" if self.only_one else ' (", " one)*'
            lines.append(f'calls: {start} "[" one{more} "]"')
        for index, function in wanted:
            head = f'{{"name": {json.dumps(function["name"])}, "arguments": '
            lines.append(f'call_{index}: {json.dumps(head)} @arguments_{index} "}}"')
        return "\n".join(lines), [_arguments(index, function) for index, function in wanted]


def _arguments(index: int, function: dict[str, Any]) -> Part:
    schema = {"type": "object", **(function.get("parameters") or {"properties": {}})}
    param = f"tools[{index}].function.parameters"
    grammar = Grammar("json_schema", json.dumps(schema), param)
    return Part(f"arguments_{index}", grammar, lenient=not function.get("strict"))


def _parse_json(text: str) -> Any:
    """Return the call or calls of a text that is JSON, None for other texts."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return None
    return parsed if isinstance(parsed, list | dict) else None


def _call(parsed: dict[str, Any]) -> Call:
    name, call_id = parsed["name"], parsed.get("id")
    arguments = parsed.get("arguments", parsed.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        raise TypeError(name)
    text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    return Call(name, text, call_id if isinstance(call_id, str) else None)


def describe_tools(messages: Chat, tools: list[dict[str, Any]]) -> Chat:
    """Return a conversation for a template without functions: `tools` are described at its top.

    Calls and results become text. Results that follow one another become one message, as roles
    have to alternate in some templates.
    """
    plain: Chat = []
    for are_results, group in groupby(messages, lambda message: message["role"] in _RESULT_ROLES):
        if are_results:
            results = [f"<tool_response>\n{m['content']}\n</tool_response>" for m in group]
            plain.append({"role": "user", "content": "\n".join(results)})
        else:
            plain += map(_with_calls_as_text, group)
    return _with_tools(plain, tools) if tools else plain


def _with_tools(messages: Chat, tools: list[dict[str, Any]]) -> Chat:
    text = _INSTRUCTIONS.format(
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
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**rest, "content": "\n".join(filter(None, [message["content"], *calls]))}


def _written(function: dict[str, Any]) -> str:
    name = json.dumps(function["name"])
    return f'{HERMES.start}\n{{"name": {name}, "arguments": {function["arguments"]}}}\n{HERMES.end}'
