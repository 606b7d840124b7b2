"""JSON bytes to a typed body; whatever is wrong with them becomes InvalidRequest, naming the field.

A message says what was expected and what kind of thing was found. It quotes numbers, but never a
string of the request, because strings may be somebody's prompt.
"""

import re
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import inspect

from mlxd.api.duplicates import refuse_duplicates
from mlxd.errors import InvalidRequest

T = TypeVar("T")
Steps = list[str | int]

_REASON = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`")
_STEP = re.compile(r"\.(?P<field>[^.\[]+)|\[(?P<index>\d+)\]")
_INSIDE_DICT = "[...]"
_BYTE = re.compile(r"\(byte (?P<byte>\d+)\)")
_NO_NUMBERS = (b"NaN", b"Infinity", b"-Infinity", b"-NaN")
_LARGEST_QUOTED = 10**18
_MAX_LEVELS = 64
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1  # what MessagePack can write


def decode(data: bytes, body_type: type[T]) -> T:
    """Decode `data` as `body_type`, a type that msgspec knows.

    Raises:
        InvalidRequest: when `data` is not UTF-8, not JSON, nested too deeply, has a key twice in
            one object or is not of that type; `param` is the path of the field at fault, such as
            `messages[0].content`.
    """
    try:
        text = data.decode()  # msgspec does not look into the strings that it skips
        body = _decode(data, body_type)
        refuse_duplicates(text)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8 (byte {error.start})") from None
    except msgspec.ValidationError as error:
        _refuse(str(error), data, body_type)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {_where(str(error), data)}") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
    return body


def _decode(data: bytes, body_type: type[T]) -> T:
    """Decode, taking 2.0 for an integer, as JSON Schema does and some languages write it."""
    try:
        return msgspec.json.decode(data, type=body_type)
    except msgspec.ValidationError as error:
        try:
            untyped = _with_integers(msgspec.json.decode(data))
        except (msgspec.DecodeError, RecursionError):
            raise error from None
        return msgspec.convert(untyped, body_type)


def _with_integers(value: Any) -> Any:
    match value:
        case float() if value.is_integer() and _INT_MIN <= value <= _INT_MAX:
            return int(value)
        case dict():
            return {key: _with_integers(inner) for key, inner in value.items()}
        case list():
            return [_with_integers(inner) for inner in value]
        case _:
            return value


def check_free(value: object, path: str) -> None:
    """Refuse a value of any shape that what has to handle it cannot hold.

    Raises:
        InvalidRequest: `value`, found at `path`, has more than 64 levels, or a whole number of more
            than 64 bits.
    """
    level = [value]
    for _ in range(_MAX_LEVELS):
        inside = [inner for outer in level for inner in _children(outer)]
        if any(map(_is_too_large, inside)):
            raise InvalidRequest(f"`{path}`: holds a number of more than 64 bits", param=path)
        level = [inner for inner in inside if isinstance(inner, dict | list)]
        if not level:
            return
    raise InvalidRequest(f"`{path}`: nested deeper than {_MAX_LEVELS} levels", param=path)


def _children(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _is_too_large(value: object) -> bool:
    return isinstance(value, int) and not _INT_MIN <= value <= _INT_MAX


def _where(reason: str, data: bytes) -> str:
    if "truncated" in reason:
        return f"it ends too early, after {len(data)} bytes, or holds half a surrogate pair"
    if (found := _BYTE.search(reason)) and data[int(found["byte"]) :].startswith(_NO_NUMBERS):
        return f"NaN and Infinity are no numbers there {found[0]}"
    return reason.removeprefix("JSON is malformed: ")


def _refuse(reason: str, data: bytes, body_type: type[Any]) -> NoReturn:
    match = _REASON.fullmatch(reason)
    what, path = (match["what"], match["path"] or "") if match else (reason, "")
    if missing := _MISSING.fullmatch(what):
        param = f"{path}.{missing['field']}".lstrip(".")
        raise InvalidRequest(f"`{param}`: missing", param=param)
    path, inside, _ = path.partition(_INSIDE_DICT)
    steps: Steps = [m["field"] or int(m["index"]) for m in _STEP.finditer(path)]
    values = _values_along(data, steps)
    expected = _describe_type(_type_at(inspect.type_info(body_type), steps, values))
    if inside or len(values) <= len(steps):
        found = "something else"
    else:
        found = _describe_value(values[-1])
    param = path.lstrip(".")
    subject = f"`{param}`" if param else "the body"
    raise InvalidRequest(f"{subject}: expected {expected}, got {found}", param=param or None)


def _values_along(data: bytes, steps: Steps) -> list[Any]:
    """Give the body and what is at each step into it, as far as that can be read."""
    try:
        values = [msgspec.json.decode(data)]
    except (msgspec.DecodeError, RecursionError):
        return []  # what follows the field is unreadable besides
    try:
        for step in steps:
            values.append(values[-1][step])
    except (LookupError, TypeError):
        pass  # a key that is there twice: the last one is another value
    return values


def _type_at(kind: inspect.Type, steps: Steps, values: list[Any]) -> inspect.Type:
    for depth, step in enumerate(steps):
        value = values[depth] if depth < len(values) else None
        kind = _type_within(_alternatives(kind), step, value)
    return kind


def _type_within(alternatives: list[inspect.Type], step: str | int, value: Any) -> inspect.Type:
    if isinstance(step, int):
        return next(a.item_type for a in alternatives if isinstance(a, inspect.ListType))
    structs = [a for a in alternatives if isinstance(a, inspect.StructType)]
    tags = [struct.tag for struct in structs if struct.tag_field == step]
    if tags:
        return inspect.LiteralType(tuple(tag for tag in tags if tag is not None))
    fields = [
        (struct, field)
        for struct in structs
        for field in struct.fields
        if field.encode_name == step
    ]
    for struct, field in fields:
        if (
            struct.tag_field
            and isinstance(value, dict)
            and value.get(struct.tag_field) == struct.tag
        ):
            return field.type
    return fields[0][1].type


def _alternatives(kind: inspect.Type) -> list[inspect.Type]:
    kind = _bare(kind)
    return [_bare(t) for t in kind.types] if isinstance(kind, inspect.UnionType) else [kind]


def _bare(kind: inspect.Type) -> inspect.Type:
    """Take off what only describes a type."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    return kind


def _describe_type(kind: inspect.Type) -> str:
    match _bare(kind):
        case inspect.UnionType(types=types):
            named = [t for t in types if not isinstance(_bare(t), inspect.NoneType)]
            return " or ".join(dict.fromkeys(map(_describe_type, named)))
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(str(value) for value in values)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() as number:
            return "an integer" + _describe_range(number)
        case inspect.FloatType() as number:
            return "a number" + _describe_range(number)
        case inspect.StrType() as text:
            return _describe_text(text)
        case inspect.ListType() as items:
            return "a list" + _describe_length(items)
        case inspect.DictType(value_type=inspect.StrType()):
            return "an object whose values are strings"
        case _:
            return "an object"


def _describe_text(kind: inspect.StrType) -> str:
    if kind.pattern:
        return f"a string that matches {kind.pattern}"
    return "a non-empty string" if kind.min_length else "a string"


def _describe_range(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is None:
        return ""
    return f" of at least {kind.ge}" if kind.le is None else f" from {kind.ge} to {kind.le}"


def _describe_length(kind: inspect.ListType) -> str:
    if kind.min_length and kind.max_length:
        return f" of {kind.min_length} to {kind.max_length} elements"
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
