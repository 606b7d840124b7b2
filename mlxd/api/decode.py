"""JSON bytes to a typed body; whatever is wrong with them becomes one line that names the field.

The line is msgspec's, with JSON's names for types. It never quotes a string of the request, because
that may be somebody's prompt.
"""

import json
import math
import re
import sys
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta, inspect

from mlxd.errors import InvalidRequest, RequestError, UnsupportedParameter

T = TypeVar("T")

NOT_SUPPORTED = Meta(description="Not supported. Accepted only if it changes nothing.")
"""Marks a field that would change the answer and cannot be honored.

Its type has the values that ask for nothing; every other value is an UnsupportedParameter.
"""
Nothing = (
    Annotated[str, Meta(max_length=0)]
    | Annotated[list[Any], Meta(max_length=0)]
    | Annotated[dict[str, Any], Meta(max_length=0)]
    | None
)
"""The type of most such fields: null, or an empty string, list or object."""

EXACTLY = "x-exactly"
"""Key in a field's extra JSON schema: the schema that replaces the one of its type."""

_ERROR = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`")
_TYPES = re.compile(r"`([a-z |]+)`")
_STEP = re.compile(r"\.(?P<field>[^.\[]+)|\[\d+\]")
_INSIDE_DICT = "[...]"
_TYPE_NAMES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_HALF = re.compile("[\ud800-\udfff]")
_MOST_HALVES = 10_000  # in UTF-8, where each takes time and memory
_HALF_IN_UTF8 = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_MENDABLE = re.compile("got `float`|out of range")
_MAX_LEVELS = 64
MAX_VALUES = 2_000_000
"""Values of a body; counted by its commas, without care for those in texts."""
MAX_TEXTS = 500_000
"""Strings, lists and objects of a body, which take more memory than numbers; counted likewise."""
_MANY_BYTES = 1_000_000
_MAX_DIGITS = 309  # of an integer that a float can be near to
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1  # what MessagePack can write


def doc(text: str, *kinds: Any) -> Meta:
    """Return what describes a field in docs/api.md and /openapi.json.

    `kinds` are the types of its values, if the field's own type says too little.
    """
    schemas = [msgspec.json.schema(kind) for kind in kinds]
    return Meta(
        description=text, extra_json_schema={EXACTLY: {"anyOf": schemas}} if kinds else None
    )


def decode(data: bytes, body_type: type[T]) -> T:
    """Decode `data` as `body_type`, a type that msgspec knows. Of a repeated key the last counts.

    Raises:
        InvalidRequest: `data` is not UTF-8, not JSON, nested too deeply or not of that type;
            `param` is the path of the field at fault, such as `messages[0].content`.
        UnsupportedParameter: a field that is NOT_SUPPORTED asks for something.
    """
    if len(data) > _MANY_BYTES:
        _check_counts(data)
    try:
        data = _utf8(data)
        return _decode(data, body_type)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8 (byte {error.start})") from None
    except msgspec.ValidationError as error:
        raise _refusal(str(error), body_type) from None
    except msgspec.DecodeError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        raise InvalidRequest(f"the body is not valid JSON: {reason}") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None


def convert(value: Any, kind: Any, path: str) -> Any:
    """Return `value`, found at `path` of a request, as `kind`; raises what `decode` raises."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        refusal = _refusal(str(error), kind)
        param = f"{path}.{refusal.param}" if refusal.param else path
        _, _, what = refusal.message.partition(": ")
        raise InvalidRequest(f"`{param}`: {what}", param=param) from None


def unsupported(param: str) -> UnsupportedParameter:
    """Return the error for the value of a field that cannot be honored."""
    return UnsupportedParameter(
        f"`{param}`: this value is not supported; leave the field out", param=param
    )


class HugeNumber:
    """A number of a body that is larger than any float; `negative` is its sign."""

    def __init__(self, *, negative: bool) -> None:
        self.negative = negative


def read_json(data: bytes | str) -> Any:
    """Decode JSON of any type, with numbers of any size.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply.
    """
    try:
        return msgspec.json.decode(data)
    except msgspec.ValidationError:  # a number that msgspec cannot hold
        return _read_any(data)


def check_free_form(value: object, path: str) -> None:
    """Check JSON that may have any shape, because what handles it later has limits.

    Raises:
        InvalidRequest: `value`, found at `path`, has more than 64 levels, or an integer of more
            than 64 bits.
    """
    _check_depth(value, path)
    try:
        msgspec.msgpack.encode(value)
    except (OverflowError, TypeError):
        raise InvalidRequest(
            f"`{path}`: contains an integer of more than 64 bits", param=path
        ) from None


def read_schema(value: Any, path: str, *, rounded: bool = False) -> Any:
    """Return a JSON schema without numbers that no float is near to.

    `rounded` makes floats of integers of more than 64 bits, which no message can hold.

    Raises:
        InvalidRequest: `value`, found at `path`, has more than 64 levels.
    """
    _check_depth(value, path)
    return _without_huge_numbers(value, rounded=rounded)


def _check_depth(value: object, path: str) -> None:
    try:
        too_deep = _levels(value) > _MAX_LEVELS
    except RecursionError:
        too_deep = True
    if too_deep:
        raise InvalidRequest(f"`{path}`: nested deeper than {_MAX_LEVELS} levels", param=path)


def _without_huge_numbers(value: Any, *, rounded: bool) -> Any:
    match value:
        case HugeNumber():
            return -sys.float_info.max if value.negative else sys.float_info.max
        case int() if rounded and not _INT_MIN <= value <= _INT_MAX:
            return float(max(-sys.float_info.max, min(value, sys.float_info.max)))
        case dict():
            return {k: _without_huge_numbers(v, rounded=rounded) for k, v in value.items()}
        case list():
            return [_without_huge_numbers(inner, rounded=rounded) for inner in value]
        case _:
            return value


def _levels(value: object) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_levels, value), default=0) if isinstance(value, list) else 0


def _check_counts(data: bytes) -> None:
    if data.count(b",") > MAX_VALUES:
        raise InvalidRequest(f"the body has more than {MAX_VALUES} values")
    strings = (data.count(b'"') - data.count(b'\\"')) // 2
    if strings + data.count(b"[") + data.count(b"{") > MAX_TEXTS:
        raise InvalidRequest(f"the body has more than {MAX_TEXTS} strings, lists and objects")


def _utf8(data: bytes) -> bytes:
    """Return JSON in UTF-8 without a byte-order mark, which some editors and shells add.

    UTF-16 and UTF-32 are recognized. A half of a character in UTF-8, as text has it that was cut
    between two units of UTF-16, becomes an escape. Raises UnicodeDecodeError.
    """
    if not data.isascii() or b"\0" in data[:4]:
        from json import detect_encoding  # few bodies need it

        encoding = detect_encoding(data[:4])
        if encoding != "utf-8":
            return data.decode(encoding).encode()
        try:
            data.decode()  # msgspec does not look into the strings that it skips
        except UnicodeDecodeError:
            data = _HALF_IN_UTF8.sub(_escaped, data, _MOST_HALVES)
            data.decode()
    return data


def _escaped(half: re.Match[bytes]) -> bytes:
    second, third = half[0][1:]
    return b"\\ud%03x" % ((second & 0x3F) << 6 | third & 0x3F)


def _decode(data: bytes, body_type: type[T]) -> T:
    """Decode, and on a mistake again, without what others write and mean no mistake by.

    That is 2.0 for an integer, as JSON Schema takes it, and an escape of half a character.
    """
    try:
        return msgspec.json.decode(data, type=body_type)
    except msgspec.DecodeError as error:
        halves = b"\\ud" in data or b"\\uD" in data
        if not halves and not _MENDABLE.search(str(error)):
            raise
        try:
            untyped = _mended(_read_any(data) if halves else read_json(data))
        except (ValueError, RecursionError):
            raise error from None
        try:
            return msgspec.convert(untyped, body_type)
        except msgspec.ValidationError as other:
            raise (error if HugeNumber.__name__ in str(other) else other) from None


def _read_any(data: bytes | str) -> Any:
    return json.loads(data, parse_int=_integer, parse_float=_float, parse_constant=_refuse_constant)


def _integer(text: str) -> int | HugeNumber:
    return int(text) if len(text) <= _MAX_DIGITS else HugeNumber(negative=text[0] == "-")


def _float(text: str) -> float | HugeNumber:
    value = float(text)
    return value if math.isfinite(value) else HugeNumber(negative=value < 0)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _mended(value: Any) -> Any:
    """Return a value with integers for numbers that are some, and without halves of characters."""
    match value:
        case float() if value.is_integer() and _INT_MIN <= value <= _INT_MAX:
            return int(value)
        case str():
            return value if value.isascii() else _HALF.sub("\ufffd", value)
        case dict():
            return {_mended(key): _mended(inner) for key, inner in value.items()}
        case list():
            return [_mended(inner) for inner in value]
        case _:
            return value


def _refusal(reason: str, body_type: type[Any]) -> RequestError:
    """Return the error for msgspec's `reason`, which ends with the path of the field."""
    match = _ERROR.fullmatch(reason)
    what, path = (match["what"], match["path"] or "") if match else (reason, "")
    if missing := _MISSING.fullmatch(what):
        path, what = f"{path}.{missing['field']}", "missing"
    steps = _STEP.findall(path)
    if steps and NOT_SUPPORTED in _metadata(body_type, steps[0]):
        return unsupported(steps[0])
    if what.startswith("Invalid"):  # it quotes the string that it found
        allowed = dict.fromkeys(_strings_at(inspect.type_info(body_type), steps))
        what = "expected " + " or ".join(f'"{text}"' for text in allowed)
    what = _TYPES.sub(_in_words, what[0].lower() + what[1:])
    field = path.removeprefix(".")
    param = field.partition(_INSIDE_DICT)[0] or None
    return InvalidRequest(f"`{field}`: {what}" if field else f"the body: {what}", param=param)


def _metadata(body_type: type[Any], field: str) -> tuple[Any, ...]:
    return get_args(get_type_hints(body_type, include_extras=True).get(field))


def _in_words(types: re.Match[str]) -> str:
    """Return "a string" for msgspec's "str | null"; null is named only if it stands alone."""
    names = types[1].split(" | ")
    named = [name for name in names if name != "null"] or names
    return " or ".join(_TYPE_NAMES.get(name, name) for name in named)


def _strings_at(kind: inspect.Type, steps: list[str]) -> list[str]:
    """Return the strings that are allowed `steps` into a type; "" is a step into a list."""
    match kind:
        case inspect.Metadata():
            return _strings_at(kind.type, steps)
        case inspect.UnionType():
            return [text for inner in kind.types for text in _strings_at(inner, steps)]
        case inspect.LiteralType() if not steps:
            return [str(value) for value in kind.values]
        case inspect.ListType() if steps and not steps[0]:
            return _strings_at(kind.item_type, steps[1:])
        case inspect.StructType() if steps == [kind.tag_field]:
            return [str(kind.tag)]
        case inspect.StructType() if steps:
            inside = [field.type for field in kind.fields if field.encode_name == steps[0]]
            return [text for inner in inside for text in _strings_at(inner, steps[1:])]
        case _:
            return []
