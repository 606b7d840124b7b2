"""The names and the type of the weights that mlx_lm loads."""

from pathlib import Path

import pytest

from mlxd.models.weights import Weights, is_weights, read_weights
from tests.fakes.model_folder import write_safetensors


@pytest.mark.parametrize(
    ("name", "loaded"),
    [
        ("model.safetensors", True),
        ("model-00001-of-00002.safetensors", True),
        ("consolidated.safetensors", False),
        ("model.safetensors.index.json", False),
        ("model/a.safetensors", False),
    ],
)
def test_weights_are_known_by_their_names(name: str, loaded: bool) -> None:
    assert is_weights(name) == loaded


def test_the_type_is_that_of_most_bytes(tmp_path: Path) -> None:
    file = write_safetensors(tmp_path / "model.safetensors", {"a": ("U8", [3]), "b": ("F16", [2])})
    size = file.stat().st_size
    assert read_weights(tmp_path, [file.name, "README.md"]) == Weights(size, "float16", None)
    write_safetensors(file, {"a": ("U32", [3]), "b": ("F16", [2])})
    assert read_weights(tmp_path, [file.name]).dtype is None
