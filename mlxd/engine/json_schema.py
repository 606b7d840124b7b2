"""JSON schemas before they are compiled: close their objects, and locate errors."""

import time
from collections.abc import Callable, Iterator
from typing import Any

Schema = dict[str, Any]

_CLOSED_NAMED = ("properties", "$defs", "definitions")
_CLOSED_LISTED = ("anyOf", "oneOf", "prefixItems")
_INTERSECTING = frozenset({"allOf", "not", "if", "dependentSchemas", "unevaluatedProperties"})
_COMBINING = frozenset({"anyOf", "oneOf", "$ref"})
_OPENING = frozenset({"additionalProperties", "patternProperties", "minProperties"})

_LOCATE_SECONDS = 1.0
_DEFINITIONS = ("$defs", "definitions")
_INNER_NAMED = ("properties", "patternProperties", *_DEFINITIONS)
_INNER_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_INNER_SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains")


def closed(schema: Schema) -> Schema:
    """Return the schema with its objects closed to other properties.

    Schemas that are combined stay open, as one may name what another one requires. A schema with
    a keyword that intersects others is returned as it is: closed, nothing might match it.
    """
    return schema if _intersects(schema) else _close(schema)


def _intersects(value: Any) -> bool:
    if isinstance(value, dict):
        return not _INTERSECTING.isdisjoint(value) or any(map(_intersects, value.values()))
    return isinstance(value, list) and any(map(_intersects, value))


def _close(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    names = schema.get("properties")
    if isinstance(names, dict) and not _COMBINING.isdisjoint(schema):
        return schema
    inner = dict(schema)
    for key in _CLOSED_NAMED:
        if isinstance(schemas := schema.get(key), dict):
            inner[key] = {name: _close(one) for name, one in schemas.items()}
    for key in _CLOSED_LISTED:
        if isinstance(schemas := schema.get(key), list):
            inner[key] = [_close(one) for one in schemas]
    if "items" in schema:
        inner["items"] = _close(schema["items"])
    if isinstance(names, dict) and _OPENING.isdisjoint(schema):
        required = schema.get("required", [])
        if isinstance(required, list) and all(name in names for name in required):
            inner["additionalProperties"] = False
    return inner


def locate(schema: Schema, check: Callable[[Schema], str | None]) -> str:
    """Return the path of the innermost schema with the error of the whole, "" for the whole.

    Args:
        schema: a schema with an error.
        check: returns the error of a schema, or None. It is called with inner schemas alone, to
            which the definitions of the whole are added.
    """
    error = check(schema)
    definitions = {key: schema[key] for key in _DEFINITIONS if key in schema}
    deadline = time.monotonic() + _LOCATE_SECONDS
    path, found = "", schema
    descended = True
    while descended:
        descended = False
        for step, inner in _inner(found):
            if time.monotonic() > deadline:
                return path
            if check({**definitions, **inner}) == error:
                path, found, descended = path + step, inner, True
                break
    return path


def _inner(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield the schemas directly inside a schema, each with its path."""
    for key in _INNER_NAMED:
        if isinstance(schemas := schema.get(key), dict):
            yield from ((f".{key}.{name}", s) for name, s in schemas.items() if isinstance(s, dict))
    for key in _INNER_LISTED:
        if isinstance(schemas := schema.get(key), list):
            yield from (
                (f".{key}[{index}]", s) for index, s in enumerate(schemas) if isinstance(s, dict)
            )
    for key in _INNER_SINGLE:
        if isinstance(inner := schema.get(key), dict):
            yield f".{key}", inner
