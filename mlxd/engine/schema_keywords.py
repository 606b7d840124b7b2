"""One JSON schema's keywords, as llguidance takes them."""

from collections.abc import Callable
from typing import Any, ClassVar

from mlxd.engine.ecma_regex import UntranslatableRegex, translate
from mlxd.engine.schema_context import REFERRING, Context, Schema
from mlxd.engine.schema_values import (
    BOUNDS,
    DESCRIBING_FORMATS,
    FORMATS,
    GRAMMAR_FORMATS,
    TYPES,
    enforceable_bound,
    is_exact,
    is_number,
    read_bounds,
    type_of,
)

_COMBINING = ("anyOf", "oneOf", "allOf", *REFERRING)
_CONDITIONAL = ("not", "if", "dependentSchemas", "dependencies")
_OF_OBJECTS = (
    *("properties", "required", "additionalProperties", "patternProperties"),
    "unevaluatedProperties",
)
_OPENING = ("additionalProperties", "patternProperties", "propertyNames")
_OF_TYPE = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "array": ("minItems", "maxItems", "uniqueItems", "contains", "unevaluatedItems"),
    "object": (
        *("minProperties", "maxProperties", "propertyNames", "unevaluatedProperties"),
        *("dependentRequired", "dependentSchemas", "dependencies"),
    ),
    "number": (*BOUNDS, "multipleOf", "divisibleBy"),
}
_TYPE_OF = {keyword: kind for kind, keywords in _OF_TYPE.items() for keyword in keywords}
_NO_LIMIT = 2**31 - 1  # no answer is that long
_LARGEST_MINIMUM = 100_000
_MOST_ALTERNATIVES = 300  # to compare with each other
_NO_GRAMMAR = "no grammar can enforce it"
_TRIVIAL = ("", ".*", "^.*$", "^(.*)$", "^", "$")


class Keywords:
    """The keywords of one schema at `path`, whose objects may stay open."""

    def __init__(self, context: Context, given: Schema, path: str, *, is_open: bool) -> None:
        self._context = context
        self._given = given
        # A null stands for a keyword that is not there, as some programs write it.
        self._schema = {k: v for k, v in given.items() if v is not None or k == "const"}
        self._path = path
        self._closable = not is_open and not self._combines()
        self._bounds = read_bounds(self._schema)
        self._conjuncts: list[Schema | bool] = []
        self._types = self._read_types()
        self._names_held = False

    def convert(self) -> Schema | bool:
        """Return the schema for llguidance."""
        converted: Schema = {}
        if self._types is not None:
            converted["type"] = self._types[0] if len(self._types) == 1 else self._types
        for keyword, value in self._schema.items():
            handler = self._HANDLERS.get(keyword)
            if handler is not None and self._applies(keyword):
                converted |= handler(self, keyword, value)
        if self._conjuncts:
            converted["allOf"] = [*converted.get("allOf", []), *self._conjuncts]
        self._close(converted)
        self._count_properties(converted)
        return converted or True

    def _drop(self, keyword: str, reason: str = _NO_GRAMMAR) -> Schema:
        self._context.drop(self._path, keyword, reason)
        return {}

    def _refuse(self, keyword: str, reason: str) -> Schema:
        self._context.refuse(self._path, keyword, reason)
        return {}

    def _convert(self, value: Any, step: str, *, is_open: bool | None = None) -> Schema | bool:
        is_open = not self._closable if is_open is None else is_open
        return self._context.convert(value, self._path + step, is_open=is_open)

    def _combines(self) -> bool:
        """Return whether other schemas may name or require properties of this one's objects."""
        schema = self._schema
        combining = [keyword for keyword in _COMBINING if keyword in schema]
        if any(keyword in schema for keyword in _CONDITIONAL) or len(combining) > 1:
            return True
        several = isinstance(every := schema.get("allOf"), list) and len(every) > 1
        mixed = any(keyword in schema for keyword in _OF_OBJECTS)
        return bool(combining) and (several or mixed)

    def _applies(self, keyword: str) -> bool:
        """Return whether a keyword says something about the types of this schema."""
        kind = _TYPE_OF.get(keyword)
        return kind is None or self._types is None or kind in self._kinds(self._types)

    @staticmethod
    def _kinds(types: list[str]) -> set[str]:
        return {"number" if name == "integer" else name for name in types}

    def _read_types(self) -> list[str] | None:
        given = self._schema.get("type")
        names = given if isinstance(given, list) else [given]
        if given is None or "any" in names:
            return None
        types = []
        for name in names:
            known = TYPES.get(name.lower()) if isinstance(name, str) else None
            if known is None:
                self._refuse("type", f"unknown type {str(name)[:100]!r}")
            else:
                types.append(known)
        if not names:
            self._refuse("type", "it is an empty list")
        return list(dict.fromkeys(types)) or None

    def _literals(self, keyword: str, value: Any) -> Schema:
        values = value if keyword == "enum" else [value]
        if not isinstance(values, list) or not values:
            return self._refuse(keyword, "it is not a list of values")
        if all(map(is_exact, values)):
            return {keyword: value}
        self._drop(keyword, "a grammar cannot hold numbers so large")
        return {} if self._types else {"type": sorted({type_of(value) for value in values})}

    def _bound(self, keyword: str, _: Any) -> Schema:
        if keyword not in self._bounds and self._bounds:
            # A boolean of draft 4 changed which bound this is.
            keyword = f"exclusive{keyword[0].upper()}{keyword[1:]}"
        if (value := self._bounds.get(keyword)) is None:
            return {}
        if not is_number(value):
            return self._refuse(keyword, "it is not a number")
        bound, same = enforceable_bound(keyword, value)
        if not same:
            self._drop(keyword, "a grammar cannot hold numbers so large")
        return {} if bound is None else {keyword: bound}

    def _multiple(self, keyword: str, value: Any) -> Schema:
        if not is_number(value) or not value > 0:
            return self._refuse(keyword, "it is not a positive number")
        return {"multipleOf": value}

    def _size(self, keyword: str, value: Any) -> Schema:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            return self._refuse(keyword, "it is not an integer")
        if keyword.startswith("min"):
            if value > _LARGEST_MINIMUM:
                return self._drop(keyword, f"a grammar cannot hold more than {_LARGEST_MINIMUM}")
            return {keyword: value} if value > 0 else {}
        if value < 0:
            return self._refuse(keyword, "it is negative")
        return {keyword: value} if value < _NO_LIMIT else {}

    def _pattern(self, keyword: str, value: Any) -> Schema:
        if not isinstance(value, str):
            return self._refuse(keyword, "it is not a string")
        try:
            pattern, left_out = translate(value)
        except UntranslatableRegex as error:
            return self._drop(keyword, str(error))
        if (problem := self._context.pattern_error(pattern)) is not None:
            return self._drop(keyword, problem)
        if left_out:
            self._drop(keyword, f"a grammar cannot hold its {' and '.join(left_out)}")
        return {} if pattern in _TRIVIAL else {"pattern": pattern}

    def _format(self, keyword: str, value: Any) -> Schema:
        if not isinstance(value, str):
            return self._refuse(keyword, "it is not a string")
        if (pattern := FORMATS.get(value)) is not None:
            self._conjuncts.append({"pattern": pattern})
        elif value in GRAMMAR_FORMATS:
            if (lengths := GRAMMAR_FORMATS[value]) and "pattern" not in self._schema:
                self._conjuncts.append({"pattern": lengths})
            return {"format": value}
        elif value not in DESCRIBING_FORMATS and "pattern" not in self._schema:  # it says all
            return self._drop(keyword, f"unknown format {value[:100]!r}")
        return {}

    def _items(self, keyword: str, value: Any) -> Schema:
        if not isinstance(value, list):
            return {"items": self._convert(value, f".{keyword}")}
        converted = self._prefix_items(keyword, value)  # as drafts 4 to 2019-09 write tuples
        if (others := self._schema.get("additionalItems")) is not None:
            converted["items"] = self._convert(others, ".additionalItems")
        return converted

    def _prefix_items(self, keyword: str, value: Any) -> Schema:
        if not isinstance(value, list):
            return self._refuse(keyword, "it is not a list of schemas")
        items = [self._convert(item, f".{keyword}[{place}]") for place, item in enumerate(value)]
        return {"prefixItems": items}

    def _unique(self, keyword: str, value: Any) -> Schema:
        return self._drop(keyword) if value is True and self._schema.get("maxItems") != 1 else {}

    def _properties(self, keyword: str, value: Any) -> Schema:
        if not isinstance(value, dict):
            return self._refuse(keyword, "it is not an object of schemas")
        converted = {
            name: self._convert(inner, f".{keyword}.{name}") for name, inner in value.items()
        }
        # Draft 3 says in a property that it is required.
        marked = [n for n, p in value.items() if isinstance(p, dict) and p.get("required") is True]
        if marked and not isinstance(self._schema.get("required"), list):
            return {keyword: converted, "required": marked}
        return {keyword: converted}

    def _required(self, keyword: str, value: Any) -> Schema:
        if isinstance(value, bool):
            return {}
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            return self._refuse(keyword, "it is not a list of strings")
        return {keyword: value} if value else {}

    def _pattern_properties(self, keyword: str, value: Any) -> Schema:
        if not isinstance(value, dict):
            return self._refuse(keyword, "it is not an object of schemas")
        held = {}
        for pattern, inner in value.items():
            if (translated := self._exact(pattern)) is None:
                self._drop(keyword, f"a grammar cannot hold {pattern[:100]!r}")
            else:
                held[translated] = self._convert(inner, f".{keyword}.{pattern}")
        return {keyword: held} if held else {}

    def _exact(self, pattern: str) -> str | None:
        """Return a pattern that matches the same in the grammar's engine."""
        try:
            translated, left_out = translate(pattern)
        except UntranslatableRegex:
            return None
        return None if left_out or self._context.pattern_error(translated) else translated

    def _additional(self, keyword: str, value: Any) -> Schema:
        return {} if self._names_held else {keyword: self._convert(value, f".{keyword}")}

    def _names(self, keyword: str, value: Any) -> Schema:
        """Translate `propertyNames` where it lists names or gives a pattern for them."""
        names: Any = value
        if isinstance(value, dict) and "$ref" in value:
            found = self._context.resolve(value, f"{self._path}.{keyword}", "$ref")
            names = found[0] if found else True
        if not isinstance(names, dict):
            return self._drop(keyword) if names is False else {}
        said = {key for key in names if key in self.HANDLED and key != "type"}
        if not said:
            return {}
        if any(key in self._schema for key in ("properties", "patternProperties")):
            return self._drop(keyword)
        listed = names.get("enum", [names.get("const")])
        if said in ({"enum"}, {"const"}) and all(isinstance(name, str) for name in listed):
            self._names_held = True
            properties = dict.fromkeys(listed, self._others())
            return {"properties": properties, "additionalProperties": False}
        pattern = names.get("pattern", FORMATS.get(names.get("format", "")))
        if (
            said in ({"pattern"}, {"format"})
            and isinstance(pattern, str)
            and (exact := self._exact(pattern))
        ):
            self._names_held = True
            return {"patternProperties": {exact: self._others()}, "additionalProperties": False}
        return self._drop(keyword)

    def _others(self) -> Schema | bool:
        """Return the schema of properties without a name, for several places."""
        others = self._schema.get("additionalProperties", True)
        path = f"{self._path}.additionalProperties"
        return self._context.define(others, path, is_open=not self._closable)

    def _alternatives(self, keyword: str, value: Any) -> Schema:
        if not isinstance(value, list) or not value:
            return self._refuse(keyword, "it is not a list of schemas")
        if keyword == "oneOf" and not self._are_distinct(value):
            self._drop(keyword, "a value may meet several of its schemas")
        options = [self._convert(each, f".{keyword}[{place}]") for place, each in enumerate(value)]
        if keyword == "oneOf" and "anyOf" in self._schema:
            self._conjuncts.append({"anyOf": options})
            return {}
        return {"anyOf": options}

    def _are_distinct(self, schemas: list[Any]) -> bool:
        if len(schemas) > _MOST_ALTERNATIVES:
            return False
        return all(
            self._context.overlap.distinct(one, other, closed=self._closable)
            for place, one in enumerate(schemas)
            for other in schemas[:place]
        )

    def _all_of(self, keyword: str, value: Any) -> Schema:
        if not isinstance(value, list):
            return self._refuse(keyword, "it is not a list of schemas")
        return (
            {keyword: [self._convert(each, f".{keyword}[{i}]") for i, each in enumerate(value)]}
            if value
            else {}
        )

    def _reference(self, keyword: str, _: Any) -> Schema:
        found = self._context.resolve(self._given, self._path, keyword)
        if found is None:
            return {}
        target, path = found
        referred = self._context.define(target, path, is_open=not self._closable)
        if keyword == "$ref" and isinstance(referred, dict):
            return referred
        self._conjuncts.append(referred)
        return {}

    def _never(self, keyword: str, value: Any) -> Schema:
        """Leave out what no grammar holds, where it restricts anything."""
        schema = self._schema
        if keyword == "if" and not ("then" in schema or "else" in schema):
            return {}
        if keyword == "contains" and schema.get("minContains") == 0:
            return {} if "maxContains" not in schema else self._drop(keyword)
        return self._drop(keyword) if value not in ({}, True, []) or keyword == "contains" else {}

    def _not(self, keyword: str, value: Any) -> Schema:
        return {} if value is False else self._drop(keyword)

    def _unevaluated(self, keyword: str, value: Any) -> Schema:
        if value in ({}, True):
            return {}
        plain = "additionalProperties" if keyword == "unevaluatedProperties" else "items"
        if plain in self._schema:
            return {}
        if any(key in self._schema for key in (*_COMBINING, *_CONDITIONAL, "contains")):
            return self._drop(keyword)
        return {plain: self._convert(value, f".{keyword}")}

    def _close(self, converted: Schema) -> None:
        names = converted.get("properties")
        if names is None or not self._closable or any(key in self._schema for key in _OPENING):
            return
        if set(converted.get("required", ())) <= names.keys():
            converted.setdefault("additionalProperties", False)

    def _count_properties(self, converted: Schema) -> None:
        """Leave out counts of properties that llguidance cannot enforce."""
        least, most = converted.get("minProperties", 0), converted.get("maxProperties")
        required = set(converted.get("required", ()))
        names = converted.get("properties", {})
        if (least == 0 and most is None) or names.keys() <= required:
            return
        closed = converted.get("additionalProperties") is False
        closed = closed and not converted.get("patternProperties")
        if least <= len(required):
            converted.pop("minProperties", None)
            least = 0
        if most is not None and closed and most >= len(names):
            del converted["maxProperties"]
            most = None
        if closed and least <= len(required) + 1 and most in (None, len(required) + 1):
            return
        for keyword in ("minProperties", "maxProperties"):
            if converted.pop(keyword, None) is not None:
                self._drop(keyword, "properties that are not required cannot be counted")

    _HANDLERS: ClassVar[dict[str, Callable[[Any, str, Any], Schema]]] = {
        "enum": _literals,
        "const": _literals,
        **dict.fromkeys(BOUNDS, _bound),
        "multipleOf": _multiple,
        "divisibleBy": _multiple,
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _size),
        **dict.fromkeys(("minProperties", "maxProperties"), _size),
        "pattern": _pattern,
        "format": _format,
        "items": _items,
        "prefixItems": _prefix_items,
        "uniqueItems": _unique,
        "properties": _properties,
        "required": _required,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional,
        "propertyNames": _names,
        "anyOf": _alternatives,
        "oneOf": _alternatives,
        "allOf": _all_of,
        **dict.fromkeys(REFERRING, _reference),
        **dict.fromkeys(("if", "contains", "dependentRequired"), _never),
        **dict.fromkeys(("dependentSchemas", "dependencies", "extends", "disallow"), _never),
        "not": _not,
        "unevaluatedProperties": _unevaluated,
        "unevaluatedItems": _unevaluated,
    }
    HANDLED: ClassVar[frozenset[str]] = frozenset({*_HANDLERS, "type", "nullable"})
    """Keywords that may restrict a value."""
