"""Which objects of a schema are closed."""

import copy
from typing import Any

import pytest

from mlxd.engine.json_schema import close

TEXT = {"type": "string"}
NAMED = {"type": "object", "properties": {"a": TEXT}}
CLOSED = {**NAMED, "additionalProperties": False}


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    copied = copy.deepcopy(schema)
    close(copied)
    return copied


def test_objects_that_name_their_properties_are_closed_wherever_they_are() -> None:
    schema = {
        "type": "object",
        "properties": {"list": {"type": "array", "items": NAMED}, "or": {"anyOf": [NAMED, TEXT]}},
        "$defs": {"x": NAMED},
    }
    assert closed(schema) == {
        "type": "object",
        "properties": {"list": {"type": "array", "items": CLOSED}, "or": {"anyOf": [CLOSED, TEXT]}},
        "$defs": {"x": CLOSED},
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {**NAMED, "additionalProperties": True},
        {**NAMED, "additionalProperties": TEXT},
        {**NAMED, "patternProperties": {"^x": TEXT}},
        {**NAMED, "minProperties": 2},
        {**NAMED, "required": ["b"]},
        {**NAMED, "anyOf": [{"properties": {"b": TEXT}}, {"required": ["c"]}]},
        {"allOf": [NAMED, {"properties": {"b": TEXT}, "required": ["b"]}]},
        {"properties": {"x": NAMED}, "not": {"required": ["y"]}},
    ],
)
def test_objects_that_allow_or_require_other_properties_stay_open(schema: dict[str, Any]) -> None:
    assert closed(schema) == schema
