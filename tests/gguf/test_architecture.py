"""Architectures, rope scalings and tensors that can be imported, and those that cannot."""

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from gguf import GGMLQuantizationType as TensorType
from mlx_lm.utils import load_model

from mlxd.errors import InvalidRequest
from mlxd.gguf.architecture import read_architecture
from mlxd.gguf.importer import import_gguf
from mlxd.gguf.reader import open_gguf
from tests.support.gguf_files import random_model, write_model

PROMPT = [[5, 400, 17, 33, 256, 8, 8, 90]]


def logits(model: nn.Module) -> np.ndarray:
    return np.array(model(mx.array(PROMPT)).astype(mx.float32))


@pytest.mark.parametrize(
    ("scaling", "changes", "extra"),
    [
        (
            {"rope_type": "linear", "factor": 4.0},
            {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
            {},
        ),
        (
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
            {
                "llama.rope.scaling.type": "yarn",
                "llama.rope.scaling.factor": 4.0,
                "llama.rope.scaling.original_context_length": 64,
            },
            {},
        ),
        (
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "original_max_position_embeddings": 8192,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
            },
            {},
            # wavelengths 6, 20, 63, 199, 628, 1,987 are short; 6,283 is between; 19,869 is long
            {"rope_freqs.weight": np.array([1, 1, 1, 1, 1, 1, 4.68148, 8], np.float32)},
        ),
    ],
    ids=["linear", "yarn", "llama3"],
)
def test_rope_scaling_is_kept(
    tmp_path: Path,
    scaling: dict[str, object],
    changes: dict[str, object],
    extra: dict[str, np.ndarray],
) -> None:
    original = random_model("llama", rope_scaling=scaling)
    file = write_model(tmp_path / "small.gguf", "llama", original, changes=changes, extra=extra)

    imported, config = load_model(import_gguf(file, tmp_path / "models").folder)

    assert config["rope_scaling"] == scaling
    np.testing.assert_allclose(logits(imported), logits(original), rtol=1e-3, atol=1e-4)


def test_gemma3_scales_rope_in_the_layers_without_a_window(tmp_path: Path) -> None:
    original = random_model("gemma3", rope_scaling={"rope_type": "linear", "factor": 8.0})
    scaling = {"gemma3.rope.scaling.type": "linear", "gemma3.rope.scaling.factor": 8.0}
    file = write_model(tmp_path / "small.gguf", "gemma3", original, changes=scaling)

    imported, _ = load_model(import_gguf(file, tmp_path / "models").folder)

    np.testing.assert_allclose(logits(imported), logits(original), rtol=1e-3, atol=1e-4)


def test_keys_that_gemma3_files_lack_have_the_values_of_llama_cpp(tmp_path: Path) -> None:
    """With 62 layers it is the 27B model, which scales queries by the width for each head."""
    model = random_model("gemma3", num_hidden_layers=62, head_dim=32)
    absent = ["gemma3.attention.sliding_window_pattern", "gemma3.rope.freq_base_swa"]
    file = write_model(tmp_path / "a.gguf", "gemma3", model, changes=dict.fromkeys(absent))

    config = read_architecture(open_gguf(file)).config

    assert config["sliding_window_pattern"] == 6
    assert config["rope_local_base_freq"] == 10_000
    assert config["query_pre_attn_scalar"] == 64 / 4
    assert config["architectures"] == ["Gemma3ForCausalLM"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"attention.sliding_window": None},
            "gemma3.attention.sliding_window is 0; a window of at least 1 token can be imported",
        ),
        (
            {"final_logit_softcapping": 30.0},
            "gemma3.final_logit_softcapping is 30.0; no softcapping can be imported",
        ),
        (
            {"rope.scaling.type": "yarn"},
            "gemma3.rope.scaling.type is 'yarn'; none or linear can be imported",
        ),
        (
            {"attention.sliding_window_pattern": 6},
            "gemma3.block_count is 2; 6 or more can be imported",
        ),
    ],
)
def test_unsupported_variants_of_gemma3_are_named(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    changes = {f"gemma3.{key}": value for key, value in changes.items()}
    file = write_model(tmp_path / "small.gguf", "gemma3", changes=changes)

    with pytest.raises(InvalidRequest) as error:
        read_architecture(open_gguf(file))

    assert error.value.message == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"general.architecture": "mamba"},
            "the architecture 'mamba' cannot be imported; these can: llama, mistral, qwen2, qwen3, "
            "gemma3",
        ),
        ({"llama.block_count": 3}, "the file lacks the tensor blk.2.attn_norm.weight"),
        ({"llama.block_count": 1}, "llama models have no tensor 'blk.1.attn_k.weight': a variant"),
        ({"llama.block_count": None}, "the keys llama.* of the file are not valid: Object missing"),
        (
            {"llama.block_count": "two"},
            "the keys llama.* of the file are not valid: Expected `int`, got `str` - at "
            "`$.block_count`",
        ),
        ({"llama.expert_count": 8}, "llama.expert_count is 8; no mixture of experts"),
        ({"llama.attention.head_count_kv": [2, 1]}, "the keys llama.* of the file are not valid"),
        ({"llama.rope.dimension_count": 8}, "llama.rope.dimension_count is 8; the width of a head"),
        ({"llama.rope.scaling.type": "longrope"}, "llama.rope.scaling.type is 'longrope'; none, "),
        ({"llama.feed_forward_length": 128}, "blk.0.ffn_gate.weight has the shape [96, 64]; the"),
        (
            {"tokenizer.ggml.tokens": ["a"], "tokenizer.ggml.merges": []},
            "tokenizer.ggml.token_type is a list of 498 values; one value for each of 1 tokens",
        ),
        ({"general.architecture": "a\n" * 99}, "the architecture 'a\\na\\n"),
        ({"split.count": 2}, "the file is one part of several"),
        ({"tokenizer.ggml.model": "bert"}, "tokenizer.ggml.model is 'bert'; gpt2 or llama"),
    ],
)
def test_an_unsupported_file_is_an_error_that_names_the_key(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    file = write_model(tmp_path / "small.gguf", "llama", changes=changes)

    with pytest.raises(InvalidRequest) as error:
        import_gguf(file, tmp_path / "models")

    assert error.value.message.startswith(message)
    assert not (tmp_path / "models").exists()


def test_unsupported_tensors_are_named(tmp_path: Path) -> None:
    other = np.ones((4, 4), np.float32)
    variant = write_model(tmp_path / "a.gguf", "llama", extra={"blk.0.ffn_sub_norm": other})
    empty = write_model(
        tmp_path / "d.gguf", "llama", extra={"blk.0.x": np.ones((0, 4), np.float32)}
    )
    divisors = {"rope_freqs.weight": np.arange(1, 9, dtype=np.float32)}
    scaled = write_model(tmp_path / "b.gguf", "llama", extra=divisors)
    ternary = write_model(
        tmp_path / "c.gguf",
        "llama",
        random_model("llama", hidden_size=256, intermediate_size=256, head_dim=64),
        tensor_type=TensorType.TQ2_0,
    )

    with pytest.raises(InvalidRequest, match=r"have no tensor 'blk\.0\.x'"):
        import_gguf(empty, tmp_path / "models")
    with pytest.raises(InvalidRequest, match=r"have no tensor 'blk\.0\.ffn_sub_norm'"):
        import_gguf(variant, tmp_path / "models")
    with pytest.raises(
        InvalidRequest, match=r"rope_freqs\.weight is not the rope scaling of Llama"
    ):
        import_gguf(scaled, tmp_path / "models")
    with pytest.raises(
        InvalidRequest, match=r"is of type TQ2_0, .* these can: F32, F16, BF16, Q4_0"
    ):
        import_gguf(ternary, tmp_path / "models")
