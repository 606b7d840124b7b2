"""A schema without what a grammar overlooks, as a validator of the standard takes it."""

import copy
from collections.abc import Iterator
from typing import Any

from mlxd.messages import Overlooked
from scripts.schema_corpus.sampler import PARAM


def relaxed(schema: dict[str, Any], overlooked: list[Overlooked], source: str) -> dict[str, Any]:
    """Return a schema for what is held of `schema`, which comes from the generator `source`."""
    held: dict[str, Any] = _standard(_without(schema, overlooked))
    return held if is_draft_4(schema, source) else _with_number_bounds(held)


def is_draft_4(schema: dict[str, Any], source: str) -> bool:
    """Return whether a schema is of draft 4, as those of OpenAPI 3.0 are."""
    return source.endswith(("openapi-3.0", "openApi3")) or "draft-04" in schema.get("$schema", "")


def _without(schema: dict[str, Any], overlooked: list[Overlooked]) -> dict[str, Any]:
    relaxed = copy.deepcopy(schema)
    places = dict(_places(relaxed, ""))
    for each in overlooked:
        path = each.param.removeprefix(PARAM).removesuffix(
            f".{each.keyword}" if each.keyword else ""
        )
        holder = places[path]
        if each.keyword == "oneOf" and "several" in each.reason:
            holder["anyOf"] = holder.pop("oneOf", True)
        elif each.keyword:
            holder.pop(each.keyword, None)
    return relaxed


def _places(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _places(inner, f"{path}[{place}]")


def _with_number_bounds(value: Any) -> Any:
    """Write the exclusive bounds of draft 4, which some generators mix in, as later drafts do."""
    if isinstance(value, list):
        return [_with_number_bounds(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    schema = {key: _with_number_bounds(inner) for key, inner in value.items()}
    for bound in ("Minimum", "Maximum"):
        if schema.get(f"exclusive{bound}") is True:
            schema[f"exclusive{bound}"] = schema.pop(bound.lower())
    return schema


def _standard(value: Any) -> Any:
    """Write OpenAPI's `nullable` as the standard does."""
    if isinstance(value, list):
        return [_standard(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    schema = {key: _standard(inner) for key, inner in value.items()}
    if schema.get("nullable") is True:
        del schema["nullable"]
        return {"anyOf": [schema, {"type": "null"}]}
    return schema
