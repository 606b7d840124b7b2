"""JSON schemas before they are compiled: close their objects, and locate errors."""

import time
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

_INTERSECTING = frozenset({"allOf", "not", "if", "dependentSchemas", "unevaluatedProperties"})
_COMBINING = frozenset({"anyOf", "oneOf", "$ref"})
_OPENING = frozenset({"additionalProperties", "patternProperties", "minProperties"})
_DEFINITIONS = ("$defs", "definitions")
_NAMED = ("properties", "patternProperties", *_DEFINITIONS)
"""Keywords that hold schemas by name."""
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains")
_SEARCHED = (*_NAMED, *_LISTED, *_SINGLE)
_CLOSED = ("properties", *_DEFINITIONS, "anyOf", "oneOf", "prefixItems", "items")
_SEARCH_SECONDS = 1.0


def close(schema: Schema) -> None:
    """Close the objects of a schema to properties that it does not name.

    Schemas that are combined stay open, as one may name what another one requires. A schema with
    a keyword that intersects others stays as it is: closed, nothing might match it.
    """
    if not _intersects(schema):
        _close(schema)


def _intersects(value: Any) -> bool:
    if isinstance(value, dict):
        return not _INTERSECTING.isdisjoint(value) or any(map(_intersects, value.values()))
    return isinstance(value, list) and any(map(_intersects, value))


def _close(schema: Schema) -> None:
    names = schema.get("properties")
    if isinstance(names, dict) and not _COMBINING.isdisjoint(schema):
        return
    for _, inner in _inner(schema, _CLOSED):
        _close(inner)
    if isinstance(names, dict) and _OPENING.isdisjoint(schema):
        required = schema.get("required", [])
        if isinstance(required, list) and all(name in names for name in required):
            schema["additionalProperties"] = False


def locate(schema: Schema, check: Callable[[Schema], str | None]) -> str:
    """Return the path of the innermost schema with the error of the whole, "" for the whole.

    Args:
        schema: a schema with an error.
        check: returns the error of a schema, or None. It is called with inner schemas alone, to
            which the definitions of the whole are added.
    """
    error = check(schema)
    definitions = {key: schema[key] for key in _DEFINITIONS if key in schema}
    deadline = time.monotonic() + _SEARCH_SECONDS
    path, rest = "", _inner(schema, _SEARCHED)
    while rest and time.monotonic() < deadline:
        (step, inner), *rest = rest
        if check({**definitions, **inner}) == error:
            path, rest = path + step, _inner(inner, _SEARCHED)
    return path


def _inner(schema: Schema, keywords: tuple[str, ...]) -> list[tuple[str, Schema]]:
    """Return the schemas that `keywords` hold, each with its path."""
    found: list[tuple[str, Any]] = []
    for keyword in keywords:
        value = schema.get(keyword)
        if isinstance(value, list):
            found += [(f".{keyword}[{index}]", inner) for index, inner in enumerate(value)]
        elif isinstance(value, dict) and keyword in _NAMED:
            found += [(f".{keyword}.{name}", inner) for name, inner in value.items()]
        else:
            found.append((f".{keyword}", value))
    return [(path, inner) for path, inner in found if isinstance(inner, dict)]
