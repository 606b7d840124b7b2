"""Find the keywords whose combination llguidance cannot compile."""

from collections.abc import Callable, Iterator

from mlxd.engine.json_schema import Places
from mlxd.engine.schema_context import Schema, SchemaFinding
from mlxd.engine.schema_references import inner_schemas

ErrorOf = Callable[[Schema], str | None]
"""Returns why a schema cannot be compiled, None if it can be."""

_UNSATISFIABLE = "Unsatisfiable schema"
_FIRST = (
    *("minProperties", "maxProperties", "patternProperties", "multipleOf", "format", "pattern"),
    *("minLength", "maxLength", "minItems", "maxItems", "exclusiveMinimum", "exclusiveMaximum"),
    *("minimum", "maximum", "additionalProperties", "required", "allOf", "anyOf", "$ref"),
)
"""Keywords in the order in which they are left out."""
_SPELLINGS = {
    "anyOf": ("oneOf", "nullable"),
    "allOf": ("format", "oneOf", "$dynamicRef", "$recursiveRef"),
    "prefixItems": ("items",),
    "multipleOf": ("divisibleBy",),
    "exclusiveMinimum": ("minimum",),
    "exclusiveMaximum": ("maximum",),
    "pattern": ("format",),
    "patternProperties": ("propertyNames",),
    "additionalProperties": ("unevaluatedProperties", "propertyNames"),
}
"""Keywords of a converted schema, and those that they come from."""


def leave_out(schema: Schema, places: Places, error_of: ErrorOf) -> SchemaFinding | None:
    """Leave one keyword out that keeps a schema from being compiled; None if nothing does.

    Args:
        schema: a converted schema, which is changed.
        places: where its parts come from.
        error_of: is called with parts of the schema, to which its definitions are added.
    """
    if (error := error_of(schema)) is None:
        return None
    part, (path, given) = _innermost(schema, places, error_of, error)
    keyword = _culprit(part, schema, error_of)
    if keyword is not None:
        del part[keyword]
    names = (keyword or "", *_SPELLINGS.get(keyword or "", ()))
    spelled = next((name for name in names if name in given), names[0])
    return SchemaFinding(path, spelled, error, invalid=error.startswith(_UNSATISFIABLE))


def _alone(part: Schema, whole: Schema) -> Schema:
    definitions = {"$defs": whole["$defs"]} if "$defs" in whole else {}
    return {**part, **definitions}


def _innermost(
    whole: Schema, places: Places, error_of: ErrorOf, error: str
) -> tuple[Schema, tuple[str, Schema]]:
    """Return the innermost schema with an error of the same kind, and where it comes from."""
    kind = error.startswith(_UNSATISFIABLE)
    part, place = whole, places.get(id(whole), ("", whole))
    seen = {id(whole)}
    rest = list(_inside(whole, whole))
    while rest:
        inner, *rest = rest
        if id(inner) in seen:
            continue
        seen.add(id(inner))
        found = error_of(_alone(inner, whole))
        if found is not None and found.startswith(_UNSATISFIABLE) == kind:
            part, place = inner, places.get(id(inner), place)
            rest = list(_inside(inner, whole))
    return part, place


def _inside(part: Schema, whole: Schema) -> Iterator[Schema]:
    inner = [schema for step, schema in inner_schemas(part) if not step.startswith(".$defs.")]
    if isinstance(reference := part.get("$ref"), str):
        inner.append(whole["$defs"][reference.rpartition("/")[2]])
    return (schema for schema in inner if isinstance(schema, dict))


def _culprit(part: Schema, whole: Schema, error_of: ErrorOf) -> str | None:
    """Return a keyword without which the part compiles, or else one that may be at fault."""
    others = [keyword for keyword in part if keyword not in (*_FIRST, "$defs", "type")]
    keywords = [keyword for keyword in (*_FIRST, *others, "type") if keyword in part]
    for keyword in keywords:
        rest = {key: value for key, value in part.items() if key != keyword}
        if error_of(_alone(rest, whole)) is None:
            return keyword
    return keywords[0] if keywords else None
