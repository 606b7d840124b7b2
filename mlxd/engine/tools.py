"""Function calls: how a model is told about functions, writes calls, and has them read."""

import json
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import groupby
from typing import Any

from mlx_lm.tool_parsers import json_tools

from mlxd.engine.bare_calls import BareCalls
from mlxd.engine.call_reader import Call, CallReader, ToolFormat, mistral_id
from mlxd.engine.structured_output import Part
from mlxd.engine.templates import uses_template
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


HERMES = ToolFormat(
    json_tools.tool_call_start,
    json_tools.tool_call_end,
    json_tools.parse_tool_call,
    native=False,
)
"""The format for a model whose own template does not support functions."""


def _no_parser(text: str, _: Any) -> Any:
    raise ValueError(text)


LLAMA = ToolFormat("<|python_tag|>", "", _no_parser, native=True, key="parameters")
"""Llama's format, of which its templates tell the model, but mlx-lm has no parser.

The mark is for calls of built-in tools; others mostly have none.
"""


def tool_format(tokenizer: Any, template: Template) -> ToolFormat:
    """Return how calls are written in a conversation that is rendered with `template`."""
    if tokenizer.has_tool_calling and supports_tools(tokenizer, template):
        return ToolFormat(
            tokenizer.tool_call_start, tokenizer.tool_call_end, tokenizer.tool_parser, native=True
        )
    return LLAMA if _is_llama(tokenizer, template) else HERMES


def _is_llama(tokenizer: Any, template: Template) -> bool:
    if not supports_tools(tokenizer, template) or LLAMA.start not in tokenizer.get_vocab():
        return False
    return any(re.search(r"""["']parameters["']\s*:""", s) for s in _sources(tokenizer, template))


def supports_tools(tokenizer: Any, template: Template) -> bool:
    """Return whether the template that renders a conversation supports functions."""
    if not uses_template(tokenizer, template):
        return False
    if not (sources := _sources(tokenizer, template)):
        return bool(tokenizer.has_chat_template)  # rendered by the model's own code
    return any(re.search(r"\btools\b", text) for text in sources)


def _sources(tokenizer: Any, template: Template) -> list[str]:
    """Return the texts of the templates that may render a conversation."""
    source = template.source or tokenizer.chat_template
    if source is None:
        return []
    return list(source.values()) if isinstance(source, dict) else [source]


class AllowedCalls:
    """The calls that an answer may have: how they are written, read and constrained."""

    def __init__(
        self,
        form: ToolFormat,
        use: ToolUse,
        *,
        bare: bool = False,
        taken: Collection[str] = (),
    ) -> None:
        """Take what calls look like, and which ones the request allows.

        Args:
            form: how the model writes them.
            use: the functions on offer.
            bare: whether an answer that is only the JSON of a call is one.
            taken: the ids of the calls earlier in the conversation.
        """
        self.form = form
        self.required = use.choice == "required" or use.name is not None
        self.only_one = use.name is not None or not use.parallel
        self._use = use
        self._bare = bare
        self._taken = set(taken)
        self._reader = CallReader(form, use.functions)

    def read(self, text: str) -> list[Call]:
        """Return the calls in the text between two marks, none if the text is not valid."""
        return self.read_part(text)[0]

    def read_part(self, text: str) -> tuple[list[Call], str]:
        """Return the calls in the text between two marks, and the text after the last of them.

        There are no calls if the text is not valid.
        """
        calls, rest = self._reader.read(text)
        return self._taken_up(calls), rest

    def read_answer(self, text: str) -> list[Call]:
        """Return the calls in a whole answer without marks, none if it is not only calls."""
        return self._taken_up(self._reader.read_answer(text))

    def bare_calls(self) -> BareCalls | None:
        """Return what tells whether an answer may be a call without marks, None if it cannot."""
        if not self._bare:
            return None
        names = (tool["function"]["name"] for tool in self._use.functions)
        return BareCalls(names, self.form.end)

    def is_open(self, text: str) -> bool:
        """Return whether text after a start mark ends inside an argument of the call."""
        return self._reader.is_open(text)

    def may_begin(self, text: str) -> bool:
        """Return whether text after a start mark may become a call."""
        return self._reader.may_begin(text)

    def can_read(self, text: str) -> bool:
        """Return whether the text between two marks is calls."""
        return bool(self._reader.read(text)[0])

    def _taken_up(self, calls: list[Call]) -> list[Call]:
        """Return the calls that the answer has, each with an id that no other call has."""
        unique = []
        for call in calls[:1] if self.only_one else calls:
            call_id = None if call.call_id in self._taken else call.call_id
            if self.form.name == "mistral":
                call_id = mistral_id(call_id)
            if call_id:
                self._taken.add(call_id)
            unique.append(replace(call, call_id=call_id))
        return unique

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
            head = f'{{"name": {json.dumps(function["name"])}, "{self.form.key}": '
            lines.append(f'call_{index}: {json.dumps(head)} @arguments_{index} "}}"')
        return "\n".join(lines), [_arguments(index, function) for index, function in wanted]


def _arguments(index: int, function: dict[str, Any]) -> Part:
    schema = {"type": "object", **(function.get("parameters") or {"properties": {}})}
    param = f"tools[{index}].function.parameters"
    strict = bool(function.get("strict"))
    grammar = Grammar("json_schema", json.dumps(schema), param, strict)
    return Part(f"arguments_{index}", grammar, lenient=not strict)


def past_ids(messages: Chat) -> set[str]:
    """Return the ids of the calls in a conversation."""
    calls = [call for message in messages for call in message.get("tool_calls") or []]
    return {call_id for call in calls if isinstance(call_id := call.get("id"), str)}


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
    name, arguments = json.dumps(function["name"], ensure_ascii=False), function["arguments"]
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return f'{HERMES.start}\n{{"name": {name}, "arguments": {arguments}}}\n{HERMES.end}'
