"""Read calls of functions as models write them: as JSON, or in a format that mlx-lm parses."""

import ast
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlx_lm.tool_parsers import gemma4

from mlxd.engine.call_formats import (
    FORMATS,
    CallFormat,
    property_types,
    pythonic_calls,
    units,
)
from mlxd.engine.request_template import CONTENT_ERRORS

_DECODER = json.JSONDecoder(strict=False)  # models write line breaks in texts as they are
_MISTRAL_HEAD = re.compile(
    r"\s*(?P<name>[^\s\[\]{}]+)\s*(?:\[CALL_ID\]\s*(?P<id>\w+)\s*)?\[ARGS\]\s*"
)
_NAMED = re.compile(
    r"\s*(?:<function\s*[=>]\s*)?(?P<name>[^\s<>{}:=]+)\s*(?:>|</function>)?\s*"
    r"(?P<arguments>\{.*\})\s*(?:</function>\s*)?",
    re.DOTALL,
)
"""A name with arguments in JSON after it, which models of several families write."""
_MISTRAL_ID = re.compile(r"[a-zA-Z0-9]{9}")
_FENCE = "```"
_LANGUAGE = re.compile(r"\s*\w*\s*")


@dataclass(frozen=True)
class Call:
    """A call of a function; `arguments` is JSON text, nearly always that of an object."""

    name: str
    arguments: str
    call_id: str | None = None


@dataclass(frozen=True)
class ToolFormat:
    """How one family of models writes calls: between the marks `start` and `end`.

    With an `end` of "", the end of the answer ends the call. `native` says that the template
    describes functions to the model, and renders calls and results in the conversation. `key` is
    the name of the arguments in a call that is JSON.
    """

    start: str
    end: str
    parse: Callable[[str, Any], Any]
    native: bool
    key: str = "arguments"

    @property
    def name(self) -> str:
        """The name of mlx-lm's parser."""
        return self.parse.__module__.rpartition(".")[2]


class CallReader:
    """Reads calls of the functions on offer, in one format.

    Only a text that is calls, and nothing else, is read: what is not is for the user to see.
    """

    def __init__(self, form: ToolFormat, functions: list[dict[str, Any]]) -> None:
        """Take the format, and the functions as OpenAI's `tools` describes them."""
        self._form = form
        self._format = FORMATS.get(form.name, CallFormat())
        self._functions = {tool["function"]["name"]: tool["function"] for tool in functions}
        marks = "|".join(re.escape(mark) for mark in (form.start, form.end) if mark)
        self._between = re.compile(rf"(?:[\s,;]|{marks})*")
        # The parsers know names of letters only; others are replaced while they read.
        odd = sorted((n for n in self._functions if re.search(r"\W", n)), key=len, reverse=True)
        nonce = secrets.token_hex(4)
        self._aliases = {name: f"f{nonce}x{index}x" for index, name in enumerate(odd)}

    def read(self, text: str) -> tuple[list[Call], str]:
        """Return the calls in the text between two marks, and the text after the last of them.

        There are no calls if the text is not valid. There can only be text after them where the
        format has no end mark.
        """
        try:
            calls, rest = self._read_json(text)
            if not calls and self._form.name == "mistral":
                calls, rest = self._read_mistral(text)
            elif not calls:
                calls, rest = self._read_native(text), ""
        except CONTENT_ERRORS:
            return [], text
        if rest and self._form.end:
            return [], text
        return calls, rest

    def read_answer(self, text: str) -> list[Call]:
        """Return the calls in a whole answer without a start mark, JSON perhaps in a fence."""
        text = _unfenced(text)
        if text.lstrip().startswith("<"):
            calls, rest = self.read(text.strip().removesuffix(self._form.end))
            return [] if rest else calls
        try:
            calls, rest = self._read_json(text)
        except CONTENT_ERRORS:
            return []
        objects = all(call.arguments.startswith("{") for call in calls)
        return calls if objects and not rest else []

    def may_begin(self, text: str) -> bool:
        """Return whether the text after a start mark may be the beginning of a call."""
        text = text.lstrip()
        if not text or text[0] in "{[<\"'":
            return True
        names = [
            name
            for prefix in ("", "call:", "functions.")
            for name in map(prefix.__add__, self._functions)
        ]
        return any(name.startswith(text) or text.startswith(name) for name in names)

    def is_open(self, text: str) -> bool:
        """Return whether the text of a call ends inside an argument."""
        value = self._format.value
        if not value or text.lstrip().startswith(("{", "[{")):
            return re.sub(r"\\.", "", text, flags=re.DOTALL).count('"') % 2 == 1
        begin, end = value
        if begin == end:
            return text.count(begin) % 2 == 1
        return text.rfind(begin) > text.rfind(end)

    def _read_json(self, text: str) -> tuple[list[Call], str]:
        """Return the calls that a text begins with, if it begins with JSON, and the rest of it."""
        calls: list[Call] = []
        position, after = self._skip(text, 0), 0
        while text[position : position + 1] in ("{", "["):
            try:
                value, end = _DECODER.raw_decode(text, position)
                found = [self._call(each) for each in _listed(value)]
            except CONTENT_ERRORS:
                break
            calls += found
            position, after = self._skip(text, end), end
        if not calls and text[position : position + 1] in ("{", "["):
            value = _python_literal(text[position:].strip())
            if value is not None:
                return [self._call(each) for each in _listed(value)], ""
        return calls, text[after:] if position < len(text) else ""

    def _read_mistral(self, text: str) -> tuple[list[Call], str]:
        calls: list[Call] = []
        position = after = 0
        while match := _MISTRAL_HEAD.match(text, position):
            try:
                arguments, position = _DECODER.raw_decode(text, match.end())
                parsed = {"name": match["name"], "arguments": arguments, "id": match["id"]}
                calls.append(self._call(parsed))
            except CONTENT_ERRORS:
                break
            after, position = position, self._skip(text, position)
        return calls, text[after:] if position < len(text) else ""

    def _read_native(self, text: str) -> list[Call]:
        """Return the calls that mlx-lm's parser finds, if it misses nothing of the text."""
        for name, alias in self._aliases.items():
            text = text.replace(name, alias)
        if match := _NAMED.fullmatch(text):
            arguments = _DECODER.decode(match["arguments"])
            return [self._call(self._renamed({"name": match["name"], "arguments": arguments}))]
        calls: list[Call] = []
        for unit in units(self._format, text):
            parsed = self._parse(unit)
            self._check(unit, parsed)
            calls += [self._call(self._renamed(each)) for each in parsed]
        return calls

    def _parse(self, unit: str) -> list[dict[str, Any]]:
        name = unit.strip()
        if name in self._functions or name in self._aliases.values():
            return [{"name": name, "arguments": {}}]
        tools = self._simple_tools(unit)
        if self._format.quote:  # FunctionGemma writes as Gemma 4, which has the better parser
            try:
                unit = unit.replace(self._format.quote, '<|"|>')
                return [gemma4.parse_tool_call(unit, tools)]
            except ValueError:
                unit = unit.replace('<|"|>', self._format.quote)
        return _listed(self._form.parse(unit, tools))

    def _check(self, unit: str, parsed: list[dict[str, Any]]) -> None:
        """Raise ValueError if the parser has missed something."""
        begin = self._format.counted
        if begin and unit.count(begin) > len(parsed[0]["arguments"]):
            raise ValueError(unit)
        if self._form.name == "pythonic" and pythonic_calls(unit) != len(parsed):
            raise ValueError(unit)
        arguments = parsed[0]["arguments"]
        unread = isinstance(arguments, dict) and set(arguments) == {"raw"}
        if unread and '"raw"' not in json.dumps(self._functions):
            raise ValueError(unit)  # glm47 takes text that it cannot read as such an argument

    def _simple_tools(self, unit: str) -> list[dict[str, Any]]:
        """Return the functions that a call may be of, with the types that the parsers know."""
        tools = []
        for name, function in self._functions.items():
            if (alias := self._aliases.get(name, name)) in unit:
                parameters = {"type": "object", "properties": property_types(function)}
                tools.append({"function": {"name": alias, "parameters": parameters}})
        return tools

    def _renamed(self, parsed: dict[str, Any]) -> dict[str, Any]:
        """Return what a parser has read with the names of the functions as they are."""
        text = json.dumps(parsed, ensure_ascii=False)
        for name, alias in self._aliases.items():
            text = text.replace(alias, json.dumps(name, ensure_ascii=False)[1:-1])
        renamed: dict[str, Any] = json.loads(text)
        return renamed

    def _skip(self, text: str, position: int) -> int:
        match = self._between.match(text, position)
        return match.end() if match else position

    def _call(self, parsed: dict[str, Any]) -> Call:
        function = parsed.get("function")
        if isinstance(function, dict):
            parsed = {**parsed, **function}
        name, call_id = parsed["name"], parsed.get("id")
        if not isinstance(name, str) or name not in self._functions:
            raise ValueError(name)
        keys = [key for key in ("arguments", "parameters") if parsed.get(key) is not None]
        known = {"name", "id", "type", "function", "arguments", "parameters"}
        if not keys and not known.issuperset(parsed):
            raise ValueError("arguments beside the name, not below it")
        arguments = parsed[keys[0]] if keys else {}
        if isinstance(arguments, str):
            arguments = _text_argument(arguments)
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        return Call(name, text, call_id if isinstance(call_id, str) else None)


def mistral_id(call_id: str | None) -> str:
    """Return an id that Mistral's templates take: the one that the model wrote, or a new one."""
    if call_id and _MISTRAL_ID.fullmatch(call_id):
        return call_id
    return secrets.token_hex(5)[:9]


def _unfenced(text: str) -> str:
    """Return what a Markdown fence around the whole text holds, or the text if there is none."""
    inner = text.strip()
    if len(inner) < 2 * len(_FENCE) or not (inner.startswith(_FENCE) and inner.endswith(_FENCE)):
        return text
    language, newline, body = inner[len(_FENCE) : -len(_FENCE)].partition("\n")
    return body if newline and _LANGUAGE.fullmatch(language) else text


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text_argument(text: str) -> Any:
    """Return arguments that a model wrote as text: the JSON in it, or the text itself.

    Raises:
        ValueError: it begins like an object or a list, but is not one.
    """
    try:
        value = json.loads(text, strict=False)
    except ValueError:
        if not text.strip() or not text.lstrip().startswith(("{", "[")):
            return text if text.strip() else {}
        raise
    return {} if value is None else value


def _python_literal(text: str) -> Any:
    """Return the value of a text that is a Python literal, None for other texts."""
    try:
        return ast.literal_eval(text)
    except CONTENT_ERRORS:
        return None
