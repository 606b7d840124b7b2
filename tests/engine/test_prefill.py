"""Whose turn it is to have a prompt read, and how much of one."""

import itertools
from types import SimpleNamespace

import pytest
from mlx_lm.models.cache import make_prompt_cache

from mlxd.engine.loader import LoadedModel
from mlxd.engine.prefill import Prefiller, Reading

LIMIT = 512


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each part take a millisecond, however slow this machine is."""
    milliseconds = itertools.count(0, 0.001)
    clock = SimpleNamespace(perf_counter=milliseconds.__next__)
    monkeypatch.setattr("mlxd.engine.prefill.time", clock)


@pytest.fixture
def prefill(loaded: LoadedModel) -> Prefiller:
    return Prefiller(loaded.model, concurrency=4, together=True, padded=True)


@pytest.fixture
def read(loaded: LoadedModel):
    """Make a prompt of so many tokens that is to be read."""

    def make(request_id: int, length: int, *stops: int) -> Reading:
        tokens = [request_id] * length
        reading = Reading(request_id, tokens, make_prompt_cache(loaded.model), 0)
        for stop in stops:
            reading.stop_at(stop)
        return reading

    return make


def progress(prefill: Prefiller, limit: int = LIMIT, step_seconds: float | None = None) -> dict:
    """Read a part, and return how far each of its prompts is."""
    parts = prefill.step(limit, step_seconds)
    return {part.reading.request_id: part.reading.position for part in parts}


def ready(prefill: Prefiller) -> list[list[int]]:
    return [[each.request_id for each in group.readings] for group in prefill.take_ready()]


def test_a_prompt_is_read_in_parts_but_for_its_last_token(prefill: Prefiller, read) -> None:
    prefill.add(read(1, 1200))
    assert [progress(prefill) for _ in range(3)] == [{1: 512}, {1: 1024}, {1: 1199}]
    assert ready(prefill) == [[1]]
    assert progress(prefill) == {}
    assert len(prefill) == 0


def test_a_prompt_of_one_token_is_ready_at_once(prefill: Prefiller, read) -> None:
    prefill.add(read(1, 1))
    assert ready(prefill) == [[1]]


def test_short_prompts_are_read_together(prefill: Prefiller, read) -> None:
    for request_id, length in [(1, 20), (2, 200), (3, 7)]:
        prefill.add(read(request_id, length))
    assert progress(prefill, 2048) == {1: 19, 2: 199, 3: 6}
    assert [sorted(group) for group in ready(prefill)] == [[1, 2, 3]]


def test_a_short_prompt_alone_says_how_fast_several_are_read(prefill: Prefiller, read) -> None:
    for request_id in range(1, 3):
        prefill.add(read(request_id, 48))
    progress(prefill)
    for request_id in range(3, 11):
        prefill.add(read(request_id, 48))
    turns = [len(progress(prefill, 2048, step_seconds=10.0)) for _ in range(4)]
    assert turns == [1, 3, 4, 0]  # half at first, to tell what is fixed
    assert len(prefill) == 0


def test_together_they_have_no_more_tokens_than_a_part_may_have(prefill: Prefiller, read) -> None:
    for request_id in (1, 2, 3):
        prefill.add(read(request_id, 101))
    assert [progress(prefill, 250) for _ in range(2)] == [{1: 100, 2: 100}, {3: 100}]


def test_without_padding_only_equal_lengths_are_read_together(loaded: LoadedModel, read) -> None:
    prefill = Prefiller(loaded.model, concurrency=4, together=True, padded=False)
    for request_id, length in [(1, 20), (2, 20), (3, 7)]:
        prefill.add(read(request_id, length))
    assert [progress(prefill) for _ in range(2)] == [{3: 6}, {1: 19, 2: 19}]


def test_a_model_that_cannot_be_batched_reads_one_prompt_at_a_time(
    loaded: LoadedModel, read
) -> None:
    prefill = Prefiller(loaded.model, concurrency=4, together=False, padded=True)
    prefill.add(read(1, 20))
    prefill.add(read(2, 20))
    assert [progress(prefill) for _ in range(2)] == [{1: 19}, {2: 19}]
    assert ready(prefill) == [[1], [2]]


def test_a_small_prompt_does_not_wait_for_a_huge_one_nor_the_reverse(
    prefill: Prefiller, read
) -> None:
    prefill.add(read(1, 4000))
    progress(prefill)
    prefill.add(read(2, 900))
    prefill.add(read(3, 900))
    turns = [progress(prefill) for _ in range(5)]
    assert turns == [{2: 512}, {3: 512}, {1: 1024}, {2: 899}, {3: 899}]


def test_reading_pauses_where_the_cache_is_to_be_kept(prefill: Prefiller, read) -> None:
    prefill.add(read(1, 600, 100, 550, 0, 700))
    kept = []
    while len(prefill):
        (part,) = prefill.step(LIMIT, None)
        kept.append((part.reading.position, part.snapshot is not None))
    assert kept == [(100, True), (550, True), (599, False)]


def test_while_answers_are_generated_parts_are_small(prefill: Prefiller, read) -> None:
    prefill.add(read(1, 6000))
    assert progress(prefill, 4000, step_seconds=0.0) == {1: 128}
    assert progress(prefill, 4000, step_seconds=1000.0)[1] <= 128 + 256


def test_a_part_takes_no_more_memory_than_there_is(prefill: Prefiller, read) -> None:
    prefill.add(read(1, 4000))
    prefill.step(LIMIT, None, workspace=10**9)
    prefill._workspace._bytes_per_token, prefill._workspace._context = 1000.0, 4000
    (part,) = prefill.step(LIMIT, None, workspace=200_000)
    assert part.reading.position == 128 + 192
    prefill._workspace._bytes_per_token = 1e9
    (part,) = prefill.step(LIMIT, None, workspace=200_000)
    assert part.reading.position == 320 + 32


def test_a_prompt_that_begins_like_another_waits_for_it(prefill: Prefiller, read) -> None:
    reading = read(1, 600)
    prefill.add(reading)
    common = [1] * 400
    assert prefill.sharing([*common, 2, 3], 0) == (reading, 400)
    assert prefill.sharing([*common, 2, 3], 380) is None
    assert prefill.sharing([*common, 2, 3], 0, "another key's salt") is None
    assert prefill.sharing([1] * 20, 0) == (reading, 19)
    assert prefill.sharing([1] * 20 + [2] * 100, 0) is None
    progress(prefill)
    assert prefill.sharing([*common, 2, 3], 0) is None
    assert prefill.is_reading(reading)
    assert prefill.remove(1) is reading
    assert not prefill.is_reading(reading)
