"""Which parts of a converted schema no finite value can match, such as endless recursion."""

from typing import Any

from mlxd.engine.schema_context import Schema
from mlxd.engine.schema_references import inner_schemas


def remove_impossible(schema: Schema) -> bool:
    """Replace references to definitions that no value matches by a schema that refuses everything.

    llguidance would refuse the whole schema, even where a value need not have that part. Return
    whether any value matches the schema.
    """
    definitions: Schema = schema.get("$defs", {})
    possible: set[str] = set()
    rest = list(reversed(definitions))  # mostly, a definition refers to later ones
    while True:
        before = len(possible)
        for name in rest:
            if _can_be(definitions[name], possible):
                possible.add(name)
        rest = [name for name in rest if name not in possible]
        if len(possible) == before:
            break
    if rest:
        _replace(schema, {f"#/$defs/{name}" for name in rest})
        for name in rest:
            del definitions[name]
    return _can_be(schema, possible)


def _can_be(schema: Any, possible: set[str]) -> bool:
    """Return whether a value meets a schema, if some meets the definitions that are `possible`."""
    if isinstance(schema, bool):
        return schema
    return (
        ("$ref" not in schema or schema["$ref"].rpartition("/")[2] in possible)
        and all(_can_be(inner, possible) for inner in schema.get("allOf", ()))
        and ("anyOf" not in schema or any(_can_be(each, possible) for each in schema["anyOf"]))
        and _can_have_parts(schema, possible)
    )


def _can_have_parts(schema: Schema, possible: set[str]) -> bool:
    if schema.get("type") == "object":
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        patterns = bool(schema.get("patternProperties"))
        return all(
            _can_be(properties.get(name, True if patterns else others), possible)
            for name in schema.get("required", ())
        )
    if schema.get("type") == "array" and (least := schema.get("minItems", 0)):
        items = schema.get("prefixItems", [])
        needs_more = least > len(items) and not _can_be(schema.get("items", True), possible)
        return not needs_more and all(_can_be(item, possible) for item in items[:least])
    return True


def _replace(schema: Any, references: set[str]) -> None:
    if not isinstance(schema, dict):
        return
    if schema.get("$ref") in references:
        schema.clear()
        schema["anyOf"] = []
    for _, inner in inner_schemas(schema):
        _replace(inner, references)
