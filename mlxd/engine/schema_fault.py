"""Where in a JSON schema the fault is that a compiler complains about without a place."""

import time
from collections.abc import Callable, Iterator
from typing import Any

Schema = dict[str, Any]

_SECONDS = 1.0
_DEFINITIONS = ("$defs", "definitions")
_NAMED = ("properties", "patternProperties", *_DEFINITIONS)
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains")


def locate(schema: Schema, complaint: Callable[[Schema], str | None]) -> str:
    """Give the path of the innermost schema with the fault of the whole, "" for the whole itself.

    Args:
        schema: a schema that has a fault.
        complaint: gives what is wrong with a schema, None for nothing. A schema within is asked
            about on its own, with the definitions of the whole.
    """
    fault = complaint(schema)
    definitions = {key: schema[key] for key in _DEFINITIONS if key in schema}
    deadline = time.monotonic() + _SECONDS
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
    for key in _NAMED:
        if isinstance(schemas := schema.get(key), dict):
            yield from ((f".{key}.{name}", s) for name, s in schemas.items() if isinstance(s, dict))
    for key in _LISTED:
        if isinstance(schemas := schema.get(key), list):
            yield from (
                (f".{key}[{index}]", s) for index, s in enumerate(schemas) if isinstance(s, dict)
            )
    for key in _SINGLE:
        if isinstance(inner := schema.get(key), dict):
            yield f".{key}", inner
