"""Whether two JSON schemas have a value in common."""

import json
from typing import Any

from mlxd.engine.schema_references import References
from mlxd.engine.schema_values import type_of

_MAX_DEPTH = 8
_MAX_LITERALS = 200
_OPENING = ("additionalProperties", "patternProperties", "unevaluatedProperties")
_COMBINING = ("anyOf", "oneOf", "allOf", "$ref")
_REFERRING = ("$ref", "$dynamicRef", "$recursiveRef")


class Overlap:
    """Compares schemas of one document."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._known_types: dict[int, frozenset[str] | None] = {}
        self._known: dict[int, frozenset[tuple[str, Any]] | None] = {}

    def distinct(self, one: Any, other: Any, *, closed: bool, depth: int = 0) -> bool:
        """Return whether it is certain that no value meets both.

        `closed` says that values of objects have only properties that their schema names.
        """
        one, other = self._resolved(one), self._resolved(other)
        if one is False or other is False:
            return True
        if not isinstance(one, dict) or not isinstance(other, dict) or depth > _MAX_DEPTH:
            return False
        types = self._types(one), self._types(other)
        if types[0] is not None and types[1] is not None and types[0].isdisjoint(types[1]):
            return True
        for first, second in ((one, other), (other, one)):
            for keyword in ("anyOf", "oneOf"):
                options = first.get(keyword)
                if isinstance(options, list) and options and len(options) <= _MAX_LITERALS:
                    return all(
                        self.distinct(option, second, closed=closed, depth=depth + 1)
                        for option in options
                    )
        literals = self._compared(one), self._compared(other)
        if literals[0] is not None and literals[1] is not None:
            return literals[0].isdisjoint(literals[1])
        if types[0] is None or types[1] is None or types[0] & types[1] != {"object"}:
            return False
        return self._distinct_objects(one, other, closed=closed, depth=depth)

    def _distinct_objects(
        self, one: dict[str, Any], other: dict[str, Any], *, closed: bool, depth: int
    ) -> bool:
        names = _properties(one), _properties(other)
        required = _required(one), _required(other)
        for name in required[0] | required[1]:
            if (
                name in names[0]
                and name in names[1]
                and self.distinct(names[0][name], names[1][name], closed=closed, depth=depth + 1)
            ):
                return True
        return (
            closed
            and all(_is_closed(schema) for schema in (one, other))
            and not required[0] <= names[1].keys()
            and not required[1] <= names[0].keys()
        )

    def _resolved(self, schema: Any) -> Any:
        for _ in range(_MAX_DEPTH):
            if not isinstance(schema, dict) or schema.get("nullable") is True:
                return schema if not isinstance(schema, dict) else {}
            reference = next((schema[key] for key in _REFERRING if key in schema), None)
            if not isinstance(reference, str):
                return schema
            try:
                found = self._references.resolve(schema, reference)
            except KeyError:
                return {}
            if found is None:
                return {}
            schema = found[0]
        return {}

    def _compared(self, schema: dict[str, Any]) -> frozenset[tuple[str, Any]] | None:
        """Return the only values of a schema, so that equal ones are the same."""
        if id(schema) not in self._known:
            values = _literals(schema)
            self._known[id(schema)] = None if values is None else frozenset(map(_key, values))
        return self._known[id(schema)]

    def _types(self, schema: dict[str, Any]) -> frozenset[str] | None:
        """Return the types that a schema's values have, None if it does not say."""
        if id(schema) not in self._known_types:
            self._known_types[id(schema)] = _types(schema)
        return self._known_types[id(schema)]


def _types(schema: dict[str, Any]) -> frozenset[str] | None:
    declared = schema.get("type")
    names = [declared] if isinstance(declared, str) else declared
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        lower = {name.lower() for name in names}
        return frozenset("number" if name == "integer" else name for name in lower)
    literals = _literals(schema)
    return None if literals is None else frozenset(map(type_of, literals))


def _literals(schema: dict[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) and len(values) <= _MAX_LITERALS else None


def _key(value: Any) -> tuple[str, Any]:
    """Return what is equal for equal JSON values: true is not 1, and 1.0 is 1."""
    kind = type_of(value)
    if kind in ("array", "object"):
        return kind, json.dumps(value, sort_keys=True)
    return kind, value


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    names = schema.get("properties")
    return names if isinstance(names, dict) else {}


def _required(schema: dict[str, Any]) -> set[str]:
    names = schema.get("required")
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _is_closed(schema: dict[str, Any]) -> bool:
    if not _properties(schema) or any(keyword in schema for keyword in _COMBINING):
        return False
    opening = [schema[keyword] for keyword in _OPENING if keyword in schema]
    return all(value is False for value in opening) and _required(schema) <= {*_properties(schema)}
