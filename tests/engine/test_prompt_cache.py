"""The key-value caches of earlier prompts."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import ArraysCache, KVCache, RotatingKVCache

from mlxd.engine.cache_layers import Cache, CacheSnapshot
from mlxd.engine.disk_cache import DiskCache
from mlxd.engine.prompt_cache import PromptCache, common_length
from mlxd.prompt_files import FolderInfo, node_files

MEGABYTE = 1_000_000
WINDOW = 8


def attention(_tokens: int = 0) -> Cache:
    return [KVCache()]


def hybrid(_tokens: int = 0) -> Cache:
    """A layer of full attention, one with a sliding window, and a recurrent one."""
    return [KVCache(), RotatingKVCache(WINDOW), ArraysCache(1)]


def read(cache: Cache, tokens: list[int]) -> Cache:
    """Fill a cache in which each token has its own id as key, and the state is their sum."""
    keys = mx.array(tokens, mx.float32)[None, None, :, None]
    for layer in cache:
        if isinstance(layer, ArraysCache):
            before = layer[0] if layer[0] is not None else mx.zeros((1, 1))
            layer[0] = before + keys.sum()
        elif tokens:
            layer.update_and_fetch(keys, -keys)
    return cache


def keep(prompts: PromptCache, new: Callable[..., Cache], tokens: list[int], **more: Any) -> None:
    prompts.keep(tokens, CacheSnapshot(read(new(), tokens)), **more)


def content(layer: Any) -> list[float]:
    if isinstance(layer, ArraysCache):
        return layer[0].flatten().tolist()
    return layer.keys[0, 0, : layer.offset, 0].tolist()


@pytest.fixture(params=[attention, hybrid])
def new(request: pytest.FixtureRequest) -> Callable[..., Cache]:
    return request.param


def test_the_longest_prefix_is_found_without_the_last_token() -> None:
    prompts = PromptCache(MEGABYTE, attention)
    keep(prompts, attention, [1, 2, 3])
    for tokens, covered in [([1, 2, 3, 4], 3), ([1, 2, 3], 2), ([1, 2, 9], 2), ([7, 8], 0)]:
        found = prompts.fetch(tokens)
        assert found.covered == prompts.covered(tokens) == covered
        assert (content(found.cache[0]) if found.cache else []) == tokens[:covered]


@pytest.mark.parametrize("length", [5, 256, 300, 700])
def test_a_prompt_goes_on_from_where_an_earlier_one_ended(
    new: Callable[..., Cache], length: int
) -> None:
    prompts = PromptCache(MEGABYTE, new)
    tokens = list(range(length))
    keep(prompts, new, tokens)
    longer = [*tokens, 7, 8, 9]
    found = prompts.fetch(longer)
    assert found.covered == length
    assert found.cache
    restored, whole = read(found.cache, [7, 8, 9]), read(new(), longer)
    for layer, expected in zip(restored, whole, strict=True):
        assert content(layer)[-WINDOW:] == content(expected)[-WINDOW:]


def test_what_cannot_be_cut_is_found_at_its_checkpoints_only() -> None:
    prompts = PromptCache(MEGABYTE, hybrid)
    tokens = list(range(400))
    for position in (100, 256, 399):
        keep(prompts, hybrid, tokens[:position])
    assert prompts.fetch([*tokens, 1]).covered == 399
    other = [*tokens[:300], 999]
    assert prompts.fetch(other).covered == 256
    assert prompts.fetch(other).common == 300
    assert prompts.fetch([*tokens[:200], 999]).covered == 100
    assert prompts.fetch(tokens[:100]).covered == 0


def test_what_is_fetched_and_what_was_kept_may_change(new: Callable[..., Cache]) -> None:
    prompts = PromptCache(MEGABYTE, new)
    kept = read(new(), [1, 2, 3])
    prompts.keep([1, 2, 3], CacheSnapshot(kept))
    read(kept, [4, 5])
    first = prompts.fetch([1, 2, 3, 4]).cache
    assert first
    read(first, [6] * 20)
    second = prompts.fetch([1, 2, 3, 4]).cache
    assert second
    assert [content(layer) for layer in second] == [
        content(layer) for layer in read(new(), [1, 2, 3])
    ]


def test_prompts_share_what_they_have_in_common() -> None:
    prompts = PromptCache(MEGABYTE, attention)
    shared = list(range(512))
    keep(prompts, attention, [*shared, 1])
    one = prompts.nbytes
    keep(prompts, attention, [*shared, 2])
    keep(prompts, attention, [*shared, 2, 3])
    assert prompts.nbytes == one + 2 * 8


def test_the_oldest_makes_room_for_the_newest() -> None:
    prompts = PromptCache(2 * 3 * 8, attention)
    for prompt in ([1, 1, 1], [2, 2, 2], [3, 3, 3]):
        keep(prompts, attention, prompt)
    assert [prompts.fetch([i, i, i, i]).covered for i in (1, 2, 3)] == [0, 3, 3]


def test_the_end_of_a_conversation_is_dropped_before_its_beginning() -> None:
    prompts = PromptCache(MEGABYTE, attention)
    keep(prompts, attention, list(range(600)))
    prompts.shrink_to(520 * 8)
    assert prompts.fetch(list(range(600))).covered == 512
    prompts.shrink_to(0)
    assert (prompts.nbytes, prompts.fetch(list(range(600))).covered) == (0, 0)


def test_what_conversations_share_is_dropped_last() -> None:
    prompts = PromptCache(MEGABYTE, hybrid)
    keep(prompts, hybrid, [1, 2, 3], lasting=True)
    for other in (4, 5, 6):
        keep(prompts, hybrid, [other] * 3)
    prompts.shrink_to(prompts.nbytes - 1)
    assert [prompts.fetch([i] * 4).covered for i in (4, 5, 6)] == [0, 3, 3]
    assert prompts.fetch([1, 2, 3, 4]).covered == 3


def test_a_size_of_0_keeps_nothing() -> None:
    prompts = PromptCache(0, attention)
    keep(prompts, attention, [1, 2, 3])
    assert prompts.fetch([1, 2, 3, 4]).cache is None


def test_one_row_of_a_batch_does_not_keep_the_batch_alive() -> None:
    prompts = PromptCache(100 * MEGABYTE, attention)
    gc.collect()
    before = mx.get_active_memory()
    caches = [read(attention(), [row] * 1000) for row in range(64)]
    batch = [KVCache.merge([cache[0] for cache in caches])]
    mx.eval(batch[0].keys, batch[0].values)
    prompts.keep([3] * 1000, CacheSnapshot(batch, 3))
    del caches, batch
    assert mx.get_active_memory() - before < 3 * 1000 * 8
    assert prompts.fetch([3] * 1001).covered == 1000


@pytest.fixture
def open_disk(tmp_path: Path) -> Iterator[Callable[[], DiskCache]]:
    """Open what is on disk, as each engine that is started does."""
    opened: list[DiskCache] = []

    def open_it() -> DiskCache:
        for disk in opened:
            disk.close()
        opened.append(DiskCache(tmp_path, "0" * 32, 100 * MEGABYTE, FolderInfo("it")))
        return opened[-1]

    yield open_it
    for disk in opened:
        disk.close()


@pytest.mark.parametrize("length", [5, 256, 700])
def test_what_was_kept_is_found_on_disk_by_the_next_engine(
    new: Callable[..., Cache], open_disk: Callable[[], DiskCache], length: int
) -> None:
    tokens = list(range(length))
    longer = [*tokens, 7, 8, 9]
    keep(PromptCache(MEGABYTE, new, disk=open_disk()), new, tokens)
    disk = open_disk()
    prompts = PromptCache(MEGABYTE, new, disk=disk)
    assert prompts.covered(longer) == 0
    keys = prompts.on_disk(longer)
    nodes = [node for key in keys if (node := disk.read(key))]
    prompts.restore(nodes)
    found = prompts.fetch(longer)
    assert found.cache
    assert found.covered == length
    assert prompts.on_disk(longer) == []
    for layer, expected in zip(found.cache, read(new(), tokens), strict=True):
        assert content(layer)[-WINDOW:] == content(expected)[-WINDOW:]


def test_what_is_on_disk_can_leave_the_memory(
    new: Callable[..., Cache], open_disk: Callable[[], DiskCache]
) -> None:
    disk = open_disk()
    prompts = PromptCache(MEGABYTE, new, disk=disk)
    keep(prompts, new, list(range(600)))
    prompts.leave_to_disk()
    assert prompts.nbytes == 0
    nodes = [node for key in prompts.on_disk(list(range(601))) if (node := disk.read(key))]
    prompts.restore(nodes)
    assert prompts.fetch(list(range(601))).covered == 600


def test_a_turn_writes_what_is_new(open_disk: Callable[[], DiskCache]) -> None:
    disk = open_disk()
    prompts = PromptCache(MEGABYTE, attention, disk=disk)
    keep(prompts, attention, list(range(300)))
    assert disk.flush(10)
    keep(prompts, attention, list(range(600)))
    assert disk.flush(10)
    assert sorted(file.length for file in node_files(disk._folder)) == [88, 256, 256]


def test_a_node_that_cannot_be_read_ends_what_is_restored(
    open_disk: Callable[[], DiskCache], capfd: pytest.CaptureFixture[str]
) -> None:
    tokens = list(range(600))
    keep(PromptCache(MEGABYTE, attention, disk=open_disk()), attention, tokens)
    disk = open_disk()
    prompts = PromptCache(MEGABYTE, attention, disk=disk)
    first, second, third = prompts.on_disk([*tokens, 1])
    file = next(disk._folder.glob(f"{second.hex()}-*"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert disk.read(second) is None
    assert "does not match its checksum" in capfd.readouterr().err
    prompts.restore([node for key in (first, third) if (node := disk.read(key))])
    assert prompts.fetch([*tokens, 1]).covered == 256


def test_nodes_from_disk_that_begin_alike_can_all_be_dropped_again(
    open_disk: Callable[[], DiskCache],
) -> None:
    alike = [*range(256), *[1] * 50]
    for tokens in (alike + [2] * 50, alike + [3] * 50):
        disk = open_disk()
        keep(PromptCache(MEGABYTE, attention, disk=disk), attention, tokens)
    prompts = PromptCache(MEGABYTE, attention, disk=disk)
    keys = prompts.on_disk([*alike, 4])
    prompts.restore([node for key in keys if (node := disk.read(key))])
    assert prompts.nbytes == (256 + 2 * 100) * 8
    prompts.shrink_to(0)
    assert prompts.nbytes == 0
    assert prompts.covered([1] * 51) == 0


@pytest.mark.parametrize("length", [20, 256, 300, 600])
def test_a_salt_shares_with_no_other_in_memory_nor_on_disk(
    new: Callable[..., Cache], open_disk: Callable[[], DiskCache], length: int
) -> None:
    """L6 of the audit: `cached_tokens` told one key what another had asked."""
    tokens, longer = list(range(length)), list(range(length + 1))
    prompts = PromptCache(MEGABYTE, new, disk=open_disk())
    keep(prompts, new, tokens, salt="mine")
    assert prompts.covered(longer, "mine") == length
    for other in ("", "theirs"):
        assert prompts.fetch(longer, other).covered == prompts.fetch(longer, other).common == 0
    keep(prompts, new, tokens)
    disk = open_disk()
    prompts = PromptCache(MEGABYTE, new, disk=disk)
    assert prompts.on_disk(longer, "theirs") == []
    for salt in ("", "mine"):
        keys = prompts.on_disk(longer, salt)
        prompts.restore([node for key in keys if (node := disk.read(key))])
        assert prompts.covered(longer, salt) == length
    assert prompts.covered(longer, "theirs") == 0
    prompts.shrink_to(0)
    assert prompts.nbytes == 0


def test_common_length() -> None:
    assert common_length([1, 2, 3], [1, 2, 4, 5]) == 2
    assert common_length("abc", "abcd") == 3
    assert common_length([], [1]) == 0
