"""The known architectures are those that mlx_lm has."""

import pytest
from mlx_lm.utils import MODEL_REMAPPING

from mlxd.models.architectures import OTHER_NAMES, Architectures
from mlxd.models.model_config import read_config


def test_the_remapped_names_of_mlx_lm_are_known() -> None:
    assert MODEL_REMAPPING.keys() == OTHER_NAMES


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"model_type": "qwen3"}, None),
        ({"model_type": "mistral"}, None),
        ({"model_type": "bert"}, "mlx-lm has no architecture 'bert'"),
        ({"model_type": "bert", "model_file": "bert.py"}, None),
        ({"model_file": "bert.py"}, "its config.json has no model_type"),
        (
            {"model_type": "llama", "quantization_config": {"quant_method": "bitsandbytes"}},
            "it is quantised with bitsandbytes, which MLX cannot read",
        ),
        ({"model_type": "llama", "quantization_config": {"quant_method": "mxfp4"}}, None),
        (
            {
                "model_type": "llama",
                "quantization": {"bits": 4, "group_size": 64},
                "quantization_config": {"quant_method": "hqq"},
            },
            None,
        ),
    ],
)
def test_a_model_that_cannot_run_has_a_fault(config: dict, fault: str | None) -> None:
    assert Architectures().fault(read_config(config)) == fault
