"""What a cache takes by the configuration, compared with what mlx-lm's models do."""

import copy
from typing import Any

import pytest
from mlx_lm import utils

from mlxd.engine.loader import can_be_batched
from mlxd.engine.memory import CacheSize, Memory
from mlxd.models.cache_layout import CacheLayout, read_layout
from mlxd.models.model_config import UNBATCHED
from scripts.random_model import architectures
from tests.fakes.model_folder import LLAMA

ARCHITECTURES = architectures()
NEEDS_METAL = {"bitnet", "muse_spark"}
LENGTH = 100_000
UNKNOWN = {"afm7", "mamba", "mamba2", "rwkv7"}
TOO_LARGE = {
    "baichuan_m1",
    "dbrx",
    "deepseek_v41",
    "mimo_v2_flash",
    "nemotron-nas",
    "olmo3",
    "plamo",
    "plamo2",
    "recurrent_gemma",
}
"""What keeps less than its configuration says in words that are known."""
TOO_SMALL = {
    "gemma3n",
    "gpt_neox",
    "longcat_flash",
    "longcat_flash_ngram",
    "minimax_m3_vl",
    "mistral3",
    "nanbeige",
}
"""What keeps more, for instance because it ignores a window."""


def model_of(name: str) -> Any:
    """Return a model of an architecture, with any weights."""
    config = copy.deepcopy(ARCHITECTURES[name])
    make, arguments = utils._get_classes(config)
    return make(arguments.from_dict(config))


def estimate(name: str) -> int:
    return read_layout({**ARCHITECTURES[name], "dtype": "float32"}).of_tokens(LENGTH)


def test_estimates_and_what_can_be_batched_are_as_the_engine_finds_out() -> None:
    ratios: dict[str, float] = {}
    unbatched = set()
    for name in ARCHITECTURES.keys() - NEEDS_METAL:
        model = model_of(name)
        ratios[name] = estimate(name) / CacheSize.of(model).of_tokens(LENGTH)
        if not can_be_batched(model):
            unbatched.add(ARCHITECTURES[name]["model_type"])
    assert {name for name, ratio in ratios.items() if ratio == 0} == UNKNOWN
    assert {name for name, ratio in ratios.items() if ratio > 1.02} == TOO_LARGE
    assert {name for name, ratio in ratios.items() if 0 < ratio < 0.98} == TOO_SMALL
    assert unbatched == UNBATCHED - {"deepseek_v41_text"}


def test_windows_and_states_do_not_grow() -> None:
    hybrid = {
        "layer_types": ["linear_attention", "sliding_attention", "full_attention"],
        "num_hidden_layers": 6,
        "sliding_window": 512,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    }
    layout = read_layout(LLAMA | hybrid)
    token = 2 * 2 * 64 * 2  # two layers of each kind, keys and values, 64 numbers of 2 bytes
    assert layout.of_tokens(100) == 2 * 512 + token * 100 * 2
    assert layout.of_tokens(10_000) == 2 * 512 + token * (512 + 10_000)


@pytest.mark.parametrize(
    ("says", "kept"),
    [
        ({"full_attention_interval": 4}, 2),
        ({"sliding_window_pattern": "LLLG", "sliding_window": 9}, 2),
        ({"sliding_window_pattern": 4, "sliding_window": 9}, 2),
        ({"sliding_window_pattern": 4}, 8),
        ({"hybrid_override_pattern": "M-M*M-M*"}, 2),
        ({"attn_layer_period": 8}, 1),
        ({"linear_attn_config": {"kda_layers": [1, 2, 3]}}, 5),
        ({"num_kv_shared_layers": 6}, 2),
        ({"attention_chunk_size": 9}, 2),
        ({"layer_types": ["dense", "sparse"]}, 8),
    ],
)
def test_so_many_of_eight_layers_keep_all_tokens(says: dict[str, object], kept: int) -> None:
    layout = read_layout(LLAMA | {"num_hidden_layers": 8} | says)
    assert layout.token_bytes == kept * 2 * 64 * 2


def test_quantized_caches_have_scales_and_biases() -> None:
    layout = read_layout(LLAMA | {"head_dim": 64})
    assert layout.quantized(8, 64).token_bytes == layout.token_bytes * (8 + 0.5) / 16
    assert layout.quantized(4, 128).token_bytes == layout.token_bytes * (4 + 1) / 16
    odd = read_layout(LLAMA | {"head_dim": 80})
    assert odd.quantized(8, 64) == odd


def test_what_fits_is_what_the_engine_lets_run() -> None:
    model = model_of("llama-sliding")
    layout = read_layout({**ARCHITECTURES["llama-sliding"], "dtype": "float32"})
    for budget in (5_000_000, 20_000_000, 60_000_000, 1_000_000_000):
        measured = Memory(budget, 0, CacheSize.of(model)).longest(200_000)
        # Its caches grow by 256 tokens at a time.
        assert measured is not None
        assert 0 <= (layout.longest(budget, 200_000) or 0) - measured < 256


def test_nothing_fits_where_the_weights_do_not() -> None:
    assert read_layout(LLAMA).longest(-1, 4096) == 0


@pytest.mark.parametrize(
    "says",
    [
        {"num_hidden_layers": None},
        {"num_hidden_layers": 2**52},
        {"hidden_size": None},
        {"head_dim": 2**52},
        {"num_hidden_layers": "many"},
    ],
)
def test_what_makes_no_sense_is_unknown(says: dict[str, object]) -> None:
    layout = read_layout(LLAMA | says)
    assert layout == CacheLayout()
    assert layout.longest(10**9, 4096) is None


def test_a_pattern_of_absurd_length_is_ignored() -> None:
    for key in ("full_attention_interval", "sliding_window_pattern", "attn_layer_period"):
        assert read_layout(LLAMA | {key: 2**52, "sliding_window": 9}) == read_layout(
            LLAMA | {"sliding_window": 9}
        )
