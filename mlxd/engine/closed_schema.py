"""Objects in a JSON schema that have no properties but those it names.

A schema that does not mention `additionalProperties` allows any, and a model would make some up.
Nobody who reads the answer waits for them, and an answer without them matches as well.
"""

from typing import Any

Schema = dict[str, Any]

_NAMED = ("properties", "$defs", "definitions")
_LISTED = ("anyOf", "oneOf", "prefixItems")
_INTERSECTING = frozenset({"allOf", "not", "if", "dependentSchemas", "unevaluatedProperties"})
_COMBINING = frozenset({"anyOf", "oneOf", "$ref"})
_OPENING = frozenset({"additionalProperties", "patternProperties", "minProperties"})


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
    for key in _NAMED:
        if isinstance(schemas := schema.get(key), dict):
            inner[key] = {name: _close(one) for name, one in schemas.items()}
    for key in _LISTED:
        if isinstance(schemas := schema.get(key), list):
            inner[key] = [_close(one) for one in schemas]
    if "items" in schema:
        inner["items"] = _close(schema["items"])
    if isinstance(names, dict) and _OPENING.isdisjoint(schema):
        required = schema.get("required", [])
        if isinstance(required, list) and all(name in names for name in required):
            inner["additionalProperties"] = False
    return inner
