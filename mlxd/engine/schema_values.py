"""The numbers, values and formats of a JSON schema that a grammar can enforce."""

import math
from typing import Any

_YEAR = r"(?:[1-9]\d{3}|0[1-9]\d{2}|00[1-9]\d|000[1-9])"
_LEAP_YEAR = r"(?:\d{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DAY = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
)
_DATE = rf"(?:{_YEAR}-{_DAY}|{_LEAP_YEAR}-02-29)"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:[zZ]|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-%s[0-9a-fA-F]{3}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"

FORMATS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}[tT]{_TIME}$",
    "json-pointer": "^(?:/(?:[^~/]|~[01])*)*$",
    "uuid": f"^{_UUID % '[0-9a-fA-F]'}$",
    **{f"uuid{version}": f"^{_UUID % version}$" for version in range(1, 9)},
}
"""Formats as patterns."""

GRAMMAR_FORMATS = {
    "email": r"^[^@]{1,64}@.{1,253}$",
    "hostname": r"^.{1,253}$",
    **dict.fromkeys(("duration", "ipv4", "ipv6", "uri")),
}
"""Formats that llguidance knows, and patterns for the lengths that it does not."""

DESCRIBING_FORMATS = frozenset(
    {
        *("base64", "base64url", "binary", "byte", "char", "decimal", "decimal128", "double"),
        *("directory-path", "file-path", "path", "float", "float32", "float64", "number"),
        *("html", "json", "json-string", "markdown", "multiline", "password", "string", "text"),
        *("textarea", "int", "int8", "int16", "int32", "int64", "int128", "integer", "long"),
        *("short", "uint", "uint8", "uint16", "uint32", "uint64", "uint128", "unknown"),
    }
)
"""Formats that say where a value comes from, how wide it is or how to show it: no assertions."""

TYPES = {
    **{name: name for name in ("null", "boolean", "integer", "number", "string")},
    "array": "array",
    "object": "object",
    "int": "integer",
    "float": "number",
    "double": "number",
    "str": "string",
    "bool": "boolean",
    "dict": "object",
    "list": "array",
    "none": "null",
}
"""Types as JSON Schema writes them, and as others do."""

_EXACT = 2**53
_FARTHEST = 2**63 - 1024
"""The largest bound that llguidance turns into digits, as a float below 2**63 can be."""

_LOWER = ("minimum", "exclusiveMinimum")
BOUNDS = (*_LOWER, "maximum", "exclusiveMaximum")


def is_number(value: object) -> bool:
    """Return whether a value is a JSON number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the bounds of a schema's numbers as 2020-12 writes them.

    An exclusive bound of draft 4 is true, and the inclusive one says which.
    """
    bounds = {keyword: schema[keyword] for keyword in BOUNDS if schema.get(keyword) is not None}
    for inclusive, exclusive in (BOUNDS[:2], BOUNDS[2:]):
        if (flag := bounds.get(exclusive)) in (True, False) and isinstance(flag, bool):
            del bounds[exclusive]
            if flag and inclusive in bounds:
                bounds[exclusive] = bounds.pop(inclusive)
    return bounds


def enforceable_bound(keyword: str, value: float) -> tuple[float | None, bool]:
    """Return the bound that a grammar can enforce instead, if any, and whether it does the same.

    A bound that every 64-bit number meets is left out, which does the same. An integer that is not
    exact as a float becomes the next one inside the bound.
    """
    sign = -1 if keyword in _LOWER else 1
    distance = value * sign  # outwards
    if distance > 2**63:
        return None, True
    if distance > _FARTHEST:
        return sign * _FARTHEST, True
    if distance < -_FARTHEST:
        return None, False
    if isinstance(value, int) and abs(value) > _EXACT and (rounded := float(value)) != value:
        if rounded * sign > distance:
            rounded = math.nextafter(rounded, -math.inf * sign)
        return int(rounded), True
    return value, True


def is_exact(value: object) -> bool:
    """Return whether a grammar can hold a constant exactly, numbers inside it too."""
    if isinstance(value, dict):
        return all(map(is_exact, value.values()))
    if isinstance(value, list):
        return all(map(is_exact, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return abs(value) <= _FARTHEST and float(value) == value


def type_of(value: object) -> str:
    """Return the name of a JSON value's type, "number" for every number."""
    if isinstance(value, bool):
        return "boolean"
    names = {type(None): "null", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "number")
