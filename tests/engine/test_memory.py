"""What there is room for in an engine's memory."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm.models.cache import ArraysCache, KVCache, RotatingKVCache

from mlxd.engine.loader import LoadedModel
from mlxd.engine.memory import CacheSize, Memory

TOKEN = 1024
"""Bytes of a token in the cache of the tiny model: two layers, keys and values, 64 floats."""


class Hybrid(nn.Module):
    """A model whose layers have keys and values of 8 bytes a token, a window, or a state."""

    def make_cache(self) -> list[Any]:
        return [KVCache(), RotatingKVCache(512), ArraysCache(1)]

    def __call__(self, tokens: mx.array, cache: list[Any]) -> None:
        keys = mx.zeros((1, 1, tokens.shape[1], 1))
        cache[0].update_and_fetch(keys, keys)
        cache[1].update_and_fetch(keys, keys)
        cache[2][0] = mx.zeros((1, 100))


def test_a_cache_grows_with_its_tokens(loaded: LoadedModel) -> None:
    cache_size = CacheSize.of(loaded.model)
    assert cache_size.of_tokens(1) == 256 * TOKEN
    assert cache_size.of_tokens(257) == 512 * TOKEN
    assert cache_size.of_batch([100, 300, 1]) == 3 * 512 * TOKEN
    assert cache_size.of_batch([]) == 0


def test_windows_and_states_do_not_grow_with_the_text() -> None:
    cache_size = CacheSize.of(Hybrid())
    assert cache_size.of_tokens(256) == 2 * 256 * 8 + 400
    assert cache_size.of_tokens(2560) == 2560 * 8 + 512 * 8 + 400


@pytest.fixture
def memory(loaded: LoadedModel) -> Memory:
    """The memory of an engine that has taken 50 MB of 100."""
    return Memory(100_000_000, 50_000_000, CacheSize.of(loaded.model))


def test_what_fits_leaves_room_for_a_step(memory: Memory) -> None:
    assert memory.workspace == 12_500_000
    assert memory.fits([10_000] * 2)
    assert not memory.fits([10_000] * 3)


def test_the_longest_sequence_that_fits_alone(memory: Memory) -> None:
    longest = memory.longest(100_000)
    assert longest == 24_320  # 25 MB, if a layer is there twice while the sequence joins
    assert memory.fits([longest])
    assert not memory.fits([longest + 1])
    assert memory.longest(4096) == 4096
    assert Memory.unlimited().longest(4096) is None


def test_the_prompt_cache_gets_what_sequences_leave(memory: Memory) -> None:
    assert memory.left([], 10**9) == 37_500_000
    assert memory.left([256], 10**9) == 37_500_000 - 256 * TOKEN * 3 // 2
    assert memory.left([], 1000) == 1000
    assert memory.left([10_000] * 3, 10**9) == 0


def test_a_refusal_has_the_arithmetic(memory: Memory) -> None:
    assert memory.why_not(100_000) == (
        "the prompt has 100000 tokens, whose cache takes 102 MB; models.memory_limit leaves "
        "38 MB of 100 MB for that: weights and program take 50 MB, a step 12 MB"
    )


def test_without_a_budget_everything_fits() -> None:
    assert Memory.unlimited().fits([10**9])
    assert Memory.unlimited().left([10**9], 5) == 5
