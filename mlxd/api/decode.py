"""JSON bytes to a typed body; whatever is wrong with them becomes InvalidRequest, naming the field.

A message says what was expected and what kind of thing was found. It quotes numbers, but never a
string of the request, because strings may be somebody's prompt.
"""

import re
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import inspect

from mlxd.errors import InvalidRequest

T = TypeVar("T")

_REASON = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`")
_STEP = re.compile(r"\.(?P<field>[^.\[]+)|\[(?P<index>\d+)\]")
_LARGEST_QUOTED = 10**18


def decode(data: bytes, body_type: type[T]) -> T:
    """Decode `data` as `body_type`, a type that msgspec knows.

    Raises:
        InvalidRequest: when `data` is not UTF-8, not JSON, nested too deeply or not of that type;
            `param` is the path of the field at fault, such as `messages[0].content`.
    """
    try:
        data.decode()  # msgspec does not look into the strings that it skips
        return msgspec.json.decode(data, type=body_type)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8 (byte {error.start})") from None
    except msgspec.ValidationError as error:
        _refuse(str(error), data, body_type)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {_where(str(error), data)}") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None


def _where(reason: str, data: bytes) -> str:
    if "truncated" in reason:
        return f"it ends too early, after {len(data)} bytes, or holds half a surrogate pair"
    return reason.removeprefix("JSON is malformed: ")


def _refuse(reason: str, data: bytes, body_type: type[Any]) -> NoReturn:
    match = _REASON.fullmatch(reason)
    what, path = (match["what"], match["path"] or "") if match else (reason, "")
    if missing := _MISSING.fullmatch(what):
        param = f"{path}.{missing['field']}".lstrip(".")
        raise InvalidRequest(f"`{param}`: missing", param=param)
    steps = [m["field"] if m["field"] else int(m["index"]) for m in _STEP.finditer(path)]
    expected = _describe_type(_type_at(inspect.type_info(body_type), steps))
    found = _describe_found(data, steps)
    param = path.lstrip(".")
    subject = f"`{param}`" if param else "the body"
    raise InvalidRequest(f"{subject}: expected {expected}, got {found}", param=param or None)


def _type_at(kind: inspect.Type, steps: list[str | int]) -> inspect.Type:
    for step in steps:
        alternatives = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
        for alternative in alternatives:
            if isinstance(step, int) and isinstance(alternative, inspect.ListType):
                kind = alternative.item_type
            elif isinstance(step, str) and isinstance(alternative, inspect.StructType):
                kind = next(f.type for f in alternative.fields if f.encode_name == step)
    return kind


def _describe_found(data: bytes, steps: list[str | int]) -> str:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return "something else"  # what follows the field is unreadable besides
    try:
        for step in steps:
            value = value[step]
    except (LookupError, TypeError):
        return "something else"  # a key that is there twice: the last one is another value
    return _describe_value(value)


def _describe_type(kind: inspect.Type) -> str:
    match kind:
        case inspect.UnionType():
            named = [t for t in kind.types if not isinstance(t, inspect.NoneType)]
            return " or ".join(_describe_type(t) for t in named)
        case inspect.LiteralType():
            return "one of " + ", ".join(str(value) for value in kind.values)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "an integer" + _describe_range(kind)
        case inspect.FloatType():
            return "a number" + _describe_range(kind)
        case inspect.StrType():
            return "a non-empty string" if kind.min_length else "a string"
        case inspect.ListType():
            return "a list" + _describe_length(kind)
        case _:
            return "an object"


def _describe_range(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is None or kind.le is None:
        return ""
    return f" from {kind.ge} to {kind.le}"


def _describe_length(kind: inspect.ListType) -> str:
    if kind.min_length:
        elements = "element" if kind.min_length == 1 else "elements"
        return f" of at least {kind.min_length} {elements}"
    return f" of at most {kind.max_length} elements" if kind.max_length else ""


def _describe_value(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value) if abs(value) < _LARGEST_QUOTED else "a larger number"
        case str():
            return "a string" if value else "an empty string"
        case list():
            return f"a list of {len(value)}" if value else "an empty list"
        case _:
            return "an object"
