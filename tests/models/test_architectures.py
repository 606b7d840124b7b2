"""The architectures that are known without importing the engine are those that it has."""

from mlx_lm.utils import MODEL_REMAPPING

from mlxd.models.architectures import OTHER_NAMES, Architectures
from mlxd.models.model_config import read_config


def test_the_engines_other_names_are_known() -> None:
    assert MODEL_REMAPPING.keys() == OTHER_NAMES


def test_what_has_a_module_is_known() -> None:
    known = Architectures().known
    assert known(read_config({"model_type": "qwen3"}))
    assert known(read_config({"model_type": "mistral"}))
    assert not known(read_config({"model_type": "bert"}))
