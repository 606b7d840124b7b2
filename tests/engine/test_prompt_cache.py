"""The key-value caches of earlier prompts."""

import gc

import mlx.core as mx
from mlx_lm.models.cache import KVCache

from mlxd.engine.prompt_cache import PromptCache

MEGABYTE = 1_000_000


def filled_cache(tokens: int) -> list[KVCache]:
    """One layer that holds `tokens` tokens, 8 bytes each."""
    cache = KVCache()
    cache.update_and_fetch(mx.zeros((1, 1, tokens, 1)), mx.zeros((1, 1, tokens, 1)))
    return [cache]


def test_the_longest_prefix_is_found_without_the_last_token() -> None:
    prompts = PromptCache(MEGABYTE)
    prompts.keep([1, 2, 3], filled_cache(3))
    for tokens, covered in [([1, 2, 3, 4], 3), ([1, 2, 3], 2), ([1, 2, 9], 2), ([7, 8], 0)]:
        cache, count = prompts.fetch(tokens)
        assert count == covered
        assert (cache[0].offset if cache else 0) == covered


def test_what_is_fetched_is_a_copy() -> None:
    prompts = PromptCache(MEGABYTE)
    prompts.keep([1, 2, 3], filled_cache(3))
    first, _ = prompts.fetch([1, 2, 3, 4])
    assert first
    first[0].update_and_fetch(mx.ones((1, 1, 5, 1)), mx.ones((1, 1, 5, 1)))
    second, _ = prompts.fetch([1, 2, 3, 4])
    assert second
    assert second[0].offset == 3


def test_the_oldest_makes_room_for_the_newest() -> None:
    one = sum(layer.nbytes for layer in filled_cache(3))
    prompts = PromptCache(2 * one)
    for prompt in ([1, 1, 1], [2, 2, 2], [3, 3, 3]):
        prompts.keep(prompt, filled_cache(3))
    assert [prompts.fetch([i, i, i, i])[1] for i in (1, 2, 3)] == [0, 3, 3]


def test_a_size_of_0_keeps_nothing() -> None:
    prompts = PromptCache(0)
    prompts.keep([1, 2, 3], filled_cache(3))
    assert prompts.fetch([1, 2, 3, 4]) == (None, 0)


def test_one_row_of_a_batch_does_not_keep_the_batch_alive() -> None:
    prompts = PromptCache(100 * MEGABYTE)
    gc.collect()
    before = mx.get_active_memory()
    batch = mx.zeros((16, 1, MEGABYTE // 4, 1))
    mx.eval(batch)
    cache = KVCache()
    cache.keys, cache.values = mx.contiguous(batch[:1]), mx.contiguous(batch[:1])
    cache.offset = MEGABYTE // 4
    prompts.keep([1, 2, 3], [cache])
    del batch
    assert mx.get_active_memory() - before < 3 * MEGABYTE
