"""Schemas of every draft as a grammar can hold them, and what is left out of them."""

from typing import Any

import pytest

from mlxd.engine import json_schema

TEXT = {"type": "string"}
NAMED = {"type": "object", "properties": {"a": TEXT}}
CLOSED = {**NAMED, "additionalProperties": False}
INT64 = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}


def convert(schema: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the converted schema, and the path of each keyword that is left out."""
    converted, findings, _ = json_schema.convert(schema, lambda pattern: None)
    return converted, [f"{found.path}.{found.keyword}" for found in findings]


def test_objects_that_name_their_properties_are_closed_wherever_they_are() -> None:
    schema = {
        "type": "object",
        "properties": {"list": {"type": "array", "items": NAMED}, "or": {"anyOf": [NAMED, TEXT]}},
        "required": ["list"],
    }
    assert convert(schema)[0] == {
        "type": "object",
        "properties": {"list": {"type": "array", "items": CLOSED}, "or": {"anyOf": [CLOSED, TEXT]}},
        "required": ["list"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {**NAMED, "additionalProperties": True},
        {**NAMED, "additionalProperties": TEXT},
        {**NAMED, "patternProperties": {"^x": TEXT}},
        {**NAMED, "required": ["b"]},
        {**NAMED, "anyOf": [{"properties": {"b": TEXT}}, {"required": ["c"]}]},
        {"allOf": [NAMED, {"properties": {"b": TEXT}, "required": ["b"]}]},
    ],
)
def test_objects_that_allow_or_require_other_properties_stay_open(schema: dict[str, Any]) -> None:
    assert convert(schema) == (schema, [])


@pytest.mark.parametrize(
    ("schema", "converted"),
    [
        ({"type": "STRING", "title": "x", "example": 5, "x-order": 1, "default": 10**40}, TEXT),
        ({"type": "string", "nullable": True}, {"anyOf": [TEXT, {"type": "null"}]}),
        ({"type": "string", "pattern": None, "enum": None}, TEXT),
        (
            {"items": [TEXT, True], "additionalItems": False},
            {"prefixItems": [TEXT, True], "items": False},
        ),
        ({"minimum": 5, "exclusiveMinimum": True}, {"exclusiveMinimum": 5}),
        ({"minimum": 5, "exclusiveMinimum": False}, {"minimum": 5}),
        ({"properties": {"a": {"type": "string", "required": True}}},
         {"properties": {"a": TEXT}, "required": ["a"], "additionalProperties": False}),
        ({"properties": {"never": {"not": {}}}},
         {"properties": {"never": False}, "additionalProperties": False}),
        ({"propertyNames": {"type": "string"}, "additionalProperties": TEXT},
         {"additionalProperties": TEXT}),
        ({"type": "string", "uniqueItems": True, "minimum": 3}, TEXT),
        ({"unevaluatedProperties": False, "properties": {"a": TEXT}},
         {"properties": {"a": TEXT}, "additionalProperties": False}),
        ({**NAMED, "minProperties": 1}, {**CLOSED, "minProperties": 1}),
        ({"format": "int64", "type": "integer"}, {"type": "integer"}),
    ],
)  # fmt: skip
def test_other_spellings_and_drafts_become_the_grammars(
    schema: dict[str, Any], converted: dict[str, Any]
) -> None:
    assert convert(schema) == (converted, [])


@pytest.mark.parametrize(
    ("schema", "converted"),
    [
        (INT64, {"type": "integer", "minimum": 1024 - 2**63, "maximum": 2**63 - 1024}),
        ({"minimum": 0, "maximum": 2**64 - 1}, {"minimum": 0}),  # grpcmcp#5
        ({"minimum": -1e308, "maximum": 10**40}, {}),
        ({"maximum": 2**53 + 1}, {"maximum": 2**53}),
        ({"maxLength": 2**31 - 1, "minItems": 0, "maxItems": 3.0}, {"maxItems": 3}),
    ],
)
def test_bounds_that_restrict_nothing_go_and_others_are_held(
    schema: dict[str, Any], converted: dict[str, Any]
) -> None:
    assert convert(schema) == (converted, [])


@pytest.mark.parametrize(
    ("schema", "left_out"),
    [
        ({"type": "array", "uniqueItems": True}, ".uniqueItems"),
        ({"properties": {"a": {"format": "phone"}}}, ".properties.a.format"),
        ({"propertyNames": {"maxLength": 3}}, ".propertyNames"),
        ({"items": {"not": {"const": 1}}}, ".items.not"),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, ".if"),
        ({"contains": TEXT}, ".contains"),
        ({"dependentRequired": {"a": ["b"]}}, ".dependentRequired"),
        ({"allOf": [NAMED, {}], "unevaluatedProperties": False}, ".unevaluatedProperties"),
        ({"enum": [2**60 + 1, "a"]}, ".enum"),
        ({"const": 10**40}, ".const"),
        ({"minimum": 10**30}, ".minimum"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, ".oneOf"),
        ({**NAMED, "minProperties": 1, "additionalProperties": TEXT}, ".minProperties"),
        ({"patternProperties": {"(?=a)": TEXT}}, ".patternProperties"),
        ({"$ref": "https://example.com/schema.json"}, ".$ref"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"uniqueItems": True}}}, ".$defs.a.uniqueItems"),
    ],
)
def test_what_no_grammar_holds_is_left_out_and_told_with_its_place(
    schema: dict[str, Any], left_out: str
) -> None:
    assert convert(schema)[1] == [left_out]


def tagged(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": {"kind": {"const": name}}, "required": ["kind"]}


@pytest.mark.parametrize(
    "schema",
    [
        {"oneOf": [TEXT, {"type": "null"}]},
        {"oneOf": [{"enum": ["a", 1]}, {"enum": ["b", True]}]},
        {"oneOf": [tagged("cat"), tagged("dog")]},
        {
            "oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}],
            "discriminator": {"propertyName": "kind"},
            "$defs": {"cat": tagged("cat"), "dog": tagged("dog")},
        },
        {"oneOf": [{**NAMED, "required": ["a"]}, {**tagged("b")}]},
    ],
)
def test_alternatives_without_a_common_value_are_held(schema: dict[str, Any]) -> None:
    assert convert(schema)[1] == []


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/definitions/a~1b", "definitions": {"a/b": TEXT}},
        {"$ref": "#/x-parts/0/text", "x-parts": [{"text": TEXT}]},
        {"$ref": "#name", "$defs": {"a": {"$anchor": "name", **TEXT}}},
        {"$dynamicRef": "#name", "$defs": {"a": {"$dynamicAnchor": "name", **TEXT}}},
        {"$id": "https://e.com/root", "$ref": "part", "$defs": {"a": {"$id": "part", **TEXT}}},
        {"$id": "urn:a:b", "$ref": "#/$defs/a", "$defs": {"a": TEXT}},
        {"id": "http://e.com/", "$ref": "#a", "definitions": {"a": {"id": "#a", **TEXT}}},
    ],
)
def test_references_inside_the_schema_are_followed(schema: dict[str, Any]) -> None:
    converted, left_out = convert(schema)
    assert converted["$defs"] == {"d0": TEXT}
    assert left_out == []


def test_a_schema_may_refer_to_itself() -> None:
    tree = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    converted, left_out = convert(tree)
    inner = {"type": "object", "properties": {"next": {"$ref": "#/$defs/d0"}}}
    closed = {**inner, "additionalProperties": False}
    assert converted == {**closed, "$defs": {"d0": closed}}
    assert left_out == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strin"},
        {"properties": 5},
        {"items": {"type": 5}},
        {"enum": []},
        {"maxLength": "5"},
        {"minItems": 0.5},
        {"anyOf": {}},
        {"multipleOf": 0},
        {"required": [5]},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"not": {}},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    ],
)
def test_what_has_no_meaning_or_no_value_is_invalid(schema: dict[str, Any]) -> None:
    _, findings, _ = json_schema.convert(schema, lambda pattern: None)
    assert [found.invalid for found in findings] == [True]


def test_a_property_that_nothing_meets_may_be_left_away() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/never"}}, "$defs": {"never": {"not": {}}}}
    assert convert(schema)[1] == []


def test_the_number_of_parts_is_limited() -> None:
    with pytest.raises(ValueError, match="more than 50000 parts"):
        convert({"prefixItems": [{}] * 50_000})
