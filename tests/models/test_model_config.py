"""What a config.json says about its model, and whether mlx_lm can run it."""

import pytest
from mlx_lm.utils import MODEL_REMAPPING

from mlxd.models.model_config import OTHER_NAMES, read_config

LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": 64,
}


@pytest.mark.parametrize(
    ("says", "context_length"),
    [
        ({"max_position_embeddings": 512}, 512),
        ({"n_positions": 1024}, 1024),
        ({"model_max_length": 8192}, 8192),
        ({"text_config": {"max_position_embeddings": 131072}}, 131072),
        ({}, None),
        ({"max_position_embeddings": "many"}, None),
        ({"max_position_embeddings": 10**30}, None),
    ],
)
def test_the_context_length_has_several_names(says: dict, context_length: int) -> None:
    assert read_config(LLAMA | says).context_length == context_length


@pytest.mark.parametrize(
    ("says", "quantization"),
    [
        ({}, None),
        ({"quantization": {"group_size": 64, "bits": 4}}, "4-bit"),
        ({"quantization": {"group_size": 64, "bits": 4, "a": {"bits": 8}, "b": False}}, "4/8-bit"),
        ({"quantization": {"group_size": 64, "bits": 4, "a": {"bits": 4}}}, "4-bit"),
        ({"quantization": {"group_size": 32, "bits": 4, "mode": "mxfp4"}}, "mxfp4"),
        ({"quantization": {"bits": 4, "mode": "nvfp4", "a": {"bits": 8}}}, "nvfp4/8-bit"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "mxfp4"),
        ({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, "fp8"),
        ({"quantization": []}, None),
        ({"quantization": {"bits": True}}, None),
        ({"quantization": {"bits": "4", "mode": 5}}, None),
    ],
)
def test_the_quantization_has_a_short_name(says: dict, quantization: str | None) -> None:
    assert read_config(LLAMA | says).quantization == quantization


@pytest.mark.parametrize(
    ("says", "token_bytes"),
    [
        ({}, 2 * 2 * 64 * 2),
        ({"torch_dtype": "float32"}, 2 * 2 * 64 * 4),
        ({"num_key_value_heads": 1}, 2 * 2 * 16 * 2),
        ({"num_key_value_heads": [1, 2]}, 2 * 2 * 2 * 16 * 2),
        ({"num_key_value_heads": 1, "head_dim": 32}, 2 * 2 * 32 * 2),
        ({"kv_lora_rank": 512, "qk_rope_head_dim": 64}, 2 * (512 + 64) * 2),
        ({"num_hidden_layers": None}, 0),
        ({"hidden_size": None}, 0),
    ],
)
def test_the_cache_per_token_follows_from_the_layers(says: dict, token_bytes: int) -> None:
    assert read_config(LLAMA | says).cache.token_bytes == token_bytes


def test_the_section_about_the_text_model_counts() -> None:
    whole = {"model_type": "mistral3", "text_config": {**LLAMA, "dtype": "float32"}}
    assert read_config(whole).cache.token_bytes == 2 * 2 * 64 * 4


def test_some_models_cache_compressed_keys_expanded() -> None:
    says = {"kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 12, "v_head_dim": 16}
    expanded = LLAMA | says | {"model_type": "minicpm3"}
    assert read_config(expanded).cache.token_bytes == 2 * 4 * (12 + 4 + 16) * 2


@pytest.mark.parametrize("model_type", [None, 5, "", []])
def test_an_invalid_architecture_is_empty(model_type: object) -> None:
    assert read_config({"model_type": model_type}).architecture == ""


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
            "it is quantized with bitsandbytes, which MLX cannot read",
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
    assert read_config(config).fault == fault
