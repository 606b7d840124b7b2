"""Values to JSON, also such as no encoder writes: numbers out of range, repeated keys, raw text."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Raw:
    """Text that stands in the JSON as it is."""

    text: str


@dataclass(frozen=True)
class Pairs:
    """An object whose keys may occur more than once."""

    pairs: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Nested:
    """`value` inside so many lists or objects."""

    levels: int
    value: Any
    key: str | None = None


def text_of(value: Any) -> str:
    """Return `value` as JSON in ASCII; half characters become escapes of them."""
    match value:
        case Raw(text=text):
            return text
        case Nested(levels=levels, value=inner, key=None):
            return "[" * levels + text_of(inner) + "]" * levels
        case Nested(levels=levels, value=inner, key=key):
            return f"{{{json.dumps(key)}:" * levels + text_of(inner) + "}" * levels
        case Pairs(pairs=pairs):
            return _object(pairs)
        case dict():
            return _object(tuple(value.items()))
        case list() | tuple():
            return "[" + ",".join(map(text_of, value)) + "]"
        case _:
            return json.dumps(value)


def _object(pairs: tuple[tuple[str, Any], ...]) -> str:
    return "{" + ",".join(f"{json.dumps(key)}:{text_of(value)}" for key, value in pairs) + "}"
