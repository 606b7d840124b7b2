"""Metadata values have the type that was asked for, or are an error that names the key."""

import pytest

from mlxd.errors import InvalidRequest
from mlxd.gguf.metadata import Metadata

METADATA = Metadata(
    {"llama.layers": 2, "llama.rope.base": 10000, "llama.name": "a", "llama.ids": [1, 2]}, "llama."
)


def test_a_value_is_returned_by_type() -> None:
    assert METADATA.count("layers") == 2
    assert METADATA.get("rope.base", float) == 10000.0
    assert METADATA.get("name", str) == "a"
    assert METADATA.get("ids", list[int]) == [1, 2]
    assert METADATA.under("").get("llama.name", str) == "a"


def test_a_missing_value_has_a_default_or_is_an_error() -> None:
    assert METADATA.count("heads", 8) == 8
    assert not METADATA.has("heads")
    with pytest.raises(InvalidRequest, match=r"the file lacks the key llama\.heads"):
        METADATA.count("heads")


@pytest.mark.parametrize(
    ("key", "kind", "message"),
    [
        ("name", float, "llama.name is 'a'; a number can be imported"),
        ("layers", str, "llama.layers is 2; a string can be imported"),
        ("layers", bool, "llama.layers is 2; true or false can be imported"),
        ("ids", list[str], "llama.ids is a list of 2 values; a list of strings can be imported"),
    ],
)
def test_another_type_is_an_error(key: str, kind: type, message: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        METADATA.get(key, kind)
    assert error.value.message == message


@pytest.mark.parametrize("value", [-1, 1.5, "2", True, [2]])
def test_a_count_is_a_whole_number(value: object) -> None:
    with pytest.raises(InvalidRequest, match=r"layers is .*; one whole number can be imported"):
        Metadata({"layers": value}).count("layers")
