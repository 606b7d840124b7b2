"""What mlx-lm's parsers of calls do not check: where a call ends, and what belongs to it.

They look for a call in a text and ignore the rest, which may be half of another one. These
patterns say what a whole call is, so that nothing is lost.
"""

import ast
import re
from dataclasses import dataclass
from typing import Any

_SCHEMA_NODES = 500
"""How many parts of a parameter's schema are looked at for its type."""


@dataclass(frozen=True)
class CallFormat:
    """How one of mlx-lm's parsers expects calls.

    `unit` is one call, None for formats that are taken as they are. `value` is the pair of marks
    around an argument, where an argument is not JSON. `counted` begins every argument. `quote`
    stands around texts in a format with braces, written as Gemma 4's.
    """

    unit: re.Pattern[str] | None = None
    value: tuple[str, str] | None = None
    counted: str = ""
    quote: str = ""


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.DOTALL)


def _keys(prefix: str) -> CallFormat:
    """Return the format of a name and of pairs of marked keys and values."""
    key, value = f"{prefix}arg_key>", f"{prefix}arg_value>"
    space = r"(?:\\n|\s)*"
    pair = f"{space}<{key}.*?</{key}{space}<{value}.*?</{value}"
    unit = rf"[^<]+(?>{pair})++|(?:(?!<{key}).)+"
    return CallFormat(_pattern(unit), (f"<{value}", f"</{value}"), f"<{value}")


_BRACES = '<|"|>'
_GLM = _keys("")

FORMATS = {
    "qwen3_coder": CallFormat(
        _pattern(r"<function=[^<>]+>(?>\s*<parameter=.*?</parameter>)*+\s*</function>"),
        ("<parameter=", "</parameter>"),
        "<parameter=",
    ),
    "minimax_m2": CallFormat(
        _pattern(r"<invoke name=[^<>]+>(?>\s*<parameter name=.*?</parameter>)*+\s*</invoke>"),
        ("<parameter name=", "</parameter>"),
        "<parameter name=",
    ),
    "muse_spark": CallFormat(
        _pattern(
            r"<atem:invoke\b[^>]*>(?>\s*<atem:parameter\b.*?</atem:parameter>)*+\s*</atem:invoke>"
        ),
        ("<atem:parameter", "</atem:parameter>"),
        "<atem:parameter",
    ),
    "minicpm5": CallFormat(
        _pattern(
            r"""(?:"[^"]*"|'[^']*'|[^\s"'<>]+)\s*>"""
            r"(?>\s*<param\s(?:(?!</?param).|<!\[CDATA\[.*?\]\]>)*+</param>)*+"
        ),
        ("<param ", "</param>"),
        "<param ",
    ),
    "kimi_k2": CallFormat(
        _pattern(
            r"<\|tool_call_begin\|>.*?<\|tool_call_end\|>"
            r"|[^<]+<\|tool_call_argument_begin\|>(?:(?!<\|tool_call).)+"
        )
    ),
    "kimi_k3": CallFormat(
        _pattern(r"<\|open\|>call\b.*?<\|close\|>call<\|sep\|>"),
        ("<|open|>argument", "<|close|>argument"),
    ),
    "glm47": _GLM,
    "laguna": _GLM,
    "longcat": _keys("longcat_"),
    "gemma4": CallFormat(value=(_BRACES, _BRACES), quote=_BRACES),
    "function_gemma": CallFormat(value=("<escape>", "<escape>"), quote="<escape>"),
}
"""By the name of the parser. Others write calls as JSON, or check them themselves."""


def units(form: CallFormat, text: str) -> list[str]:
    """Return each call in a text.

    Raises:
        ValueError: there is something else in it.
    """
    text = text.strip()
    if form.quote:
        return _in_braces(text, re.escape(form.quote))
    if form.unit is None:
        return [text]
    found: list[str] = []
    position = 0
    while position < len(text):
        match = form.unit.match(text, position)
        if match is None:
            raise ValueError(text[position:])
        found.append(match[0])
        position = match.end()
        while text[position : position + 1].isspace():
            position += 1
    return found


def _in_braces(text: str, quote: str) -> list[str]:
    """Return each call of the form `call:NAME{…}`, without the braces in its texts counted."""
    found: list[str] = []
    depth = start = 0
    for match in re.finditer(rf"{quote}.*?{quote}|[{{}}]", text, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if match[0] == "}" and depth == 0:
            found.append(text[start : match.end()].lstrip(" \t\r\n,;"))
            start = match.end()
    if depth or text[start:].strip() or not all(re.match(r"call:[\w-]+\{", u) for u in found):
        raise ValueError(text)
    return found


def pythonic_calls(text: str) -> int:
    """Return how many calls are written in Python, 0 if mlx-lm's parser would miss an argument."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        value = r"""(?:"[^"]*"|'[^']*'|[^,"'()]+)"""
        call = rf"\[[\w.]+\((?>\s*\w+={value}\s*(?:,\s*|(?=\))))*+\)\]"
        return int(re.fullmatch(call, text.strip()) is not None)
    calls = tree.elts if isinstance(tree, ast.List) else []
    complete = all(isinstance(call, ast.Call) and not call.args for call in calls)
    return len(calls) if complete else 0


def property_types(function: dict[str, Any]) -> dict[str, Any]:
    """Return a simple schema for each parameter of a function, from which a parser knows its type.

    The parsers do not know references, and few know alternatives or types that may be null.
    """
    schema = function.get("parameters") or {}
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: _simple(_types(each, schema)) for name, each in properties.items()}


def _simple(types: set[str]) -> dict[str, Any]:
    types = types - {"null"}
    if types == {"integer", "number"}:
        types = {"number"}
    if len(types) <= 1:
        return {"type": types.pop()} if types else {}
    if "string" in types:
        return {"anyOf": [{"type": name} for name in sorted(types)]}
    return {"type": "object"}  # which every parser reads as JSON


def _types(schema: Any, root: dict[str, Any]) -> set[str]:
    types: set[str] = set()
    todo, seen = [schema], 0
    while todo and seen < _SCHEMA_NODES:
        node, seen = todo.pop(), seen + 1
        if not isinstance(node, dict):
            continue
        if isinstance(reference := node.get("$ref"), str):
            todo.append(_resolve(reference, root))
        kinds = node.get("type", [])
        types.update(str(kind).lower() for kind in (kinds if isinstance(kinds, list) else [kinds]))
        if not kinds:
            values = node.get("enum", [node["const"]] if "const" in node else [])
            types.update(_type_of(value) for value in values if isinstance(values, list))
        for keyword in ("anyOf", "oneOf", "allOf"):
            if isinstance(node.get(keyword), list):
                todo += node[keyword][:_SCHEMA_NODES]
    return types


def _type_of(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return "null" if value is None else names.get(type(value), "object")


def _resolve(reference: str, root: dict[str, Any]) -> Any:
    node: Any = root
    for name in reference.removeprefix("#").split("/")[1:]:
        node = node.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else 0
    return node
