"""What /openapi.json says beyond the schemas that msgspec makes of the types."""

from typing import Any

import jsonschema_rs
import pytest

from mlxd.http.openapi import document

DOCUMENT = document()


def field(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = DOCUMENT["components"]["schemas"]["CompletionBody"]["properties"][name]
    return schema


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("prompt", ["text", ["a", "b"], [1, 2], [[1], [2]]], [None, ["a", 1], [], [[]], [-1]]),
        ("logit_bias", [None, {"5": 1, "7": "2.5"}], [{"x": 1}, {"5": "nan"}, {"5": 1e300}]),
        ("keep_alive", [None, 5, "5m", "-1"], ["soon", True]),
        ("mirostat", [None, 0, ""], [True, 2, "no"]),
    ],
)
def test_a_field_is_described_more_closely_than_its_type(
    name: str, good: list[Any], bad: list[Any]
) -> None:
    validator = jsonschema_rs.validator_for(field(name))
    assert [value for value in good if not validator.is_valid(value)] == []
    assert [value for value in bad if validator.is_valid(value)] == []
    assert field(name)["description"]


def test_nothing_but_openapi_is_left_in_the_schemas() -> None:
    assert "x-exactly" not in str(DOCUMENT)


def test_each_failure_has_its_own_description_and_one_shape() -> None:
    responses = DOCUMENT["paths"]["/v1/completions"]["post"]["responses"]
    assert list(responses) == ["200", "400", "401", "403", "404", "413", "415", "429", "500", "503"]
    failures = [responses[status] for status in list(responses)[1:]]
    assert len({failure["description"] for failure in failures}) == len(failures)
    assert {str(failure["content"]) for failure in failures} == {
        "{'application/json': {'schema': {'$ref': '#/components/schemas/ErrorReply'}}}"
    }


def test_a_path_parameter_is_described() -> None:
    (parameter,) = DOCUMENT["paths"]["/v1/models/{id}"]["get"]["parameters"]
    assert (parameter["name"], parameter["in"]) == ("id", "path")
