"""JSON schemas, before they are compiled: closing their objects, and finding where a fault is."""

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
_FAULT_NAMED = ("properties", "patternProperties", *_DEFINITIONS)
_FAULT_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_FAULT_SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains")


def closed(schema: Schema) -> Schema:
    """Give the schema with its objects closed, itself where that could leave nothing to match.

    Where schemas are combined, one may name what another one asks for; those stay open.
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


def locate(schema: Schema, complaint: Callable[[Schema], str | None]) -> str:
    """Give the path of the innermost schema with the fault of the whole, "" for the whole itself.

    Args:
        schema: a schema that has a fault.
        complaint: gives what is wrong with a schema, None for nothing. A schema within is asked
            about on its own, with the definitions of the whole.
    """
    fault = complaint(schema)
    definitions = {key: schema[key] for key in _DEFINITIONS if key in schema}
    deadline = time.monotonic() + _LOCATE_SECONDS
    path, found = "", schema
    descended = True
    while descended:
        descended = False
        for step, inner in _inner(found):
            if time.monotonic() > deadline:
                return path
            if complaint({**definitions, **inner}) == fault:
                path, found, descended = path + step, inner, True
                break
    return path


def _inner(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Give the schemas directly within one, each with the step that leads there."""
    for key in _FAULT_NAMED:
        if isinstance(schemas := schema.get(key), dict):
            yield from ((f".{key}.{name}", s) for name, s in schemas.items() if isinstance(s, dict))
    for key in _FAULT_LISTED:
        if isinstance(schemas := schema.get(key), list):
            yield from (
                (f".{key}[{index}]", s) for index, s in enumerate(schemas) if isinstance(s, dict)
            )
    for key in _FAULT_SINGLE:
        if isinstance(inner := schema.get(key), dict):
            yield f".{key}", inner
