"""Continuous batching over the tiny random model, in float32."""

from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import BatchKVCache
from mlx_lm.models.llama import TransformerBlock

from mlxd.engine.loader import LoadedModel, load_model
from mlxd.engine.memory import CacheSize, Memory
from mlxd.engine.quantized_cache import BatchQuantizedKVCache
from mlxd.messages import (
    ChatPrompt,
    Failed,
    Finished,
    GenerateRequest,
    Load,
    PrefillProgress,
    Queued,
    Sampling,
    Started,
    TokensPrompt,
    Usage,
)
from tests.support.scheduler_bench import Alone, Bench, MakeBench, ask


def test_batched_greedy_output_equals_alone_for_prompts_of_different_lengths(
    make_bench: MakeBench, alone: Alone
) -> None:
    requests = [ask("x" * length, 40) for length in (1, 3, 20, 77)]
    bench = make_bench()
    for i, request in enumerate(requests):
        bench.admit(i, request)
    bench.run()
    assert [bench.text(i) for i in range(4)] == [alone(request) for request in requests]


def test_a_request_is_admitted_between_any_two_steps(make_bench: MakeBench, alone: Alone) -> None:
    bench = make_bench()
    bench.admit(0, ask("first", 60))
    for _ in range(10):
        bench.step()
    bench.admit(1, ask("a late joiner", 20))
    bench.run()
    assert bench.text(0) == alone(ask("first", 60))
    assert bench.text(1) == alone(ask("a late joiner", 20))


def test_events_of_an_answer_come_in_order(make_bench: MakeBench) -> None:
    bench = make_bench(prefill_step_size=8)
    bench.admit(0, ask("z" * 30, 5))
    bench.run()
    first, *middle, last = bench.events[0]
    assert first == Started(0, prompt_tokens=30, cached_tokens=0)
    progress = [e for e in middle if isinstance(e, PrefillProgress)]
    assert [(e.done, e.total) for e in progress] == [(8, 30), (16, 30), (24, 30), (29, 30)]
    assert isinstance(last, Finished)
    assert (last.reason, last.usage.completion_tokens) == ("length", 5)


def test_a_stop_text_ends_the_answer_and_is_not_shown(make_bench: MakeBench, alone: Alone) -> None:
    whole = alone(ask("stop me", 60))
    stop = whole[20:23]
    bench = make_bench()
    bench.admit(0, ask("stop me", 60, stop=["never to be seen", stop]))
    bench.run()
    assert bench.text(0) == whole[: whole.index(stop)]
    assert bench.finished(0).reason == "stop"
    assert bench.finished(0).usage.completion_tokens == whole.index(stop) + len(stop)


def test_text_held_back_for_a_stop_text_is_shown_at_the_end(
    make_bench: MakeBench, alone: Alone
) -> None:
    whole = alone(ask("hold", 20))
    bench = make_bench()
    bench.admit(0, ask("hold", 20, stop=[whole[-2:] + "\x00"]))
    bench.run()
    assert bench.text(0) == whole


def test_a_seed_repeats_whatever_else_is_in_the_batch(make_bench: MakeBench, alone: Alone) -> None:
    seeded = ask("dice", 30, sampling=Sampling(temperature=1.0, top_p=0.95), seed=7)
    bench = make_bench()
    bench.admit(0, ask("greedy neighbor", 50))
    bench.admit(1, ask("random neighbor", 50, sampling=Sampling(temperature=1.0, top_p=0.95)))
    bench.step()
    bench.admit(2, seeded)
    bench.run()
    assert bench.text(2) == alone(seeded)


def test_seeds_differ_and_so_do_requests_without_one(make_bench: MakeBench) -> None:
    hot = Sampling(temperature=1.5)
    bench = make_bench()
    for i, seed in enumerate([1, 2, 1 + (1 << 32), None, None]):
        bench.admit(i, ask("dice", 30, sampling=hot, seed=seed))
    bench.run()
    assert len({bench.text(i) for i in range(5)}) == 5


def test_equal_prompts_share_what_was_computed(make_bench: MakeBench) -> None:
    bench = make_bench(prompt_cache_bytes=10_000_000)
    bench.admit(0, ask("the same long prompt", 8))
    bench.run()
    bench.admit(1, ask("the same long prompt", 8))
    bench.run()
    assert bench.finished(1).usage.cached_tokens == len("the same long prompt") - 1
    assert bench.text(1) == bench.text(0)


def test_a_second_turn_is_computed_from_where_the_first_ended(
    make_bench: MakeBench, alone: Alone
) -> None:
    bench = make_bench(prompt_cache_bytes=10_000_000)
    bench.admit(0, ask("turn one", 8))
    bench.run()
    second = "turn one" + bench.text(0) + "turn two"
    bench.admit(1, ask(second, 8))
    bench.run()
    assert bench.finished(1).usage.cached_tokens > len("turn one")
    assert bench.text(1) == alone(ask(second, 8))


def test_more_requests_than_the_batch_holds_wait_in_line(
    make_bench: MakeBench, alone: Alone
) -> None:
    bench = make_bench(decode_concurrency=2, prompt_concurrency=1)
    for i in range(5):
        bench.admit(i, ask(f"request {i}", 10))
    bench.run()
    assert [bench.text(i) for i in range(5)] == [alone(ask(f"request {i}", 10)) for i in range(5)]


def test_a_prompt_longer_than_the_context_fails_and_names_both_lengths(
    make_bench: MakeBench, loaded: LoadedModel
) -> None:
    bench = make_bench()
    bench.admit(0, ask("w" * (loaded.context_length + 1)))
    (failed,) = bench.events[0]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.param) == ("context_length_exceeded", "prompt")
    assert str(loaded.context_length) in failed.message
    assert not bench.scheduler.busy


def test_max_tokens_is_cut_to_what_the_context_has_room_for(
    make_bench: MakeBench, loaded: LoadedModel
) -> None:
    bench = make_bench()
    bench.admit(0, ask("w" * (loaded.context_length - 3), None))
    bench.run()
    assert bench.finished(0).usage.completion_tokens == 3


def test_tokens_are_counted_without_computing_anything(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.admit(0, ask("x" * 30, count_only=True))
    assert not bench.scheduler.busy
    assert bench.finished(0).usage == Usage(30, 0, 0)


def test_a_request_for_no_tokens_reads_its_prompt(make_bench: MakeBench) -> None:
    bench = make_bench(prompt_cache_bytes=1 << 24)
    bench.admit(0, ask("x" * 30, 0))
    bench.run()
    assert bench.finished(0).usage == Usage(30, 0, 0)
    bench.admit(1, ask("x" * 30, 0))
    bench.run()
    assert bench.finished(1).usage == Usage(30, 29, 0)


def test_a_chat_is_rendered_by_the_models_template(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.admit(0, GenerateRequest(ChatPrompt([{"role": "user", "content": "hi"}]), 3, Sampling()))
    bench.run()
    assert bench.finished(0).usage.prompt_tokens > len("hi")


def test_token_ids_outside_the_vocabulary_are_rejected_by_position(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.admit(0, GenerateRequest(TokensPrompt([1, 99999]), 3, Sampling()))
    (failed,) = bench.events[0]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.param) == ("invalid_request", "prompt[1]")


def test_a_prompt_that_is_being_read_is_not_read_a_second_time(
    make_bench: MakeBench, alone: Alone
) -> None:
    bench = make_bench(prompt_cache_bytes=10_000_000, prefill_step_size=16)
    for i in range(4):
        bench.admit(i, ask("c" * 60, 10, sampling=Sampling(temperature=1.0), seed=i))
    bench.admit(4, ask("another one", 10))
    bench.run()
    cached = [bench.finished(i).usage.cached_tokens for i in range(5)]
    assert cached == [0, 59, 59, 59, 0]
    assert bench.text(2) == alone(ask("c" * 60, 10, sampling=Sampling(temperature=1.0), seed=2))


def test_a_request_starts_as_soon_as_its_prompt_has_been_read_by_another(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(prompt_cache_bytes=10_000_000, prefill_step_size=16)
    bench.admit(0, ask("c" * 60, 4000))
    bench.admit(1, ask("c" * 60, 10))
    while PrefillProgress(0, 59, 60) not in bench.events[0]:
        assert bench.events[1] == [Queued(1, 1)]
        bench.step()
    assert bench.events[1] == [Queued(1, 1), Started(1, prompt_tokens=60, cached_tokens=59)]


def test_no_more_than_decode_concurrency_are_computed_at_once(make_bench: MakeBench) -> None:
    bench = make_bench(decode_concurrency=2, prompt_concurrency=8)
    for i in range(5):
        bench.admit(i, ask(f"request {i}", 10))
        bench.step()
        running = [e for i in bench.events for e in bench.events[i] if isinstance(e, Started)]
        assert len(running) <= 2
    bench.run()


def test_a_scheduler_without_work_holds_no_free_buffers(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.admit(1, ask("go " * 500))
    bench.step()
    while not bench.text(1):
        bench.step()
    assert mx.get_cache_memory() > 0
    bench.run()
    assert mx.get_cache_memory() == 0


def test_a_waiting_request_starts_in_the_step_that_frees_its_place(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(decode_concurrency=1)
    bench.admit(1, ask("one", 3))
    bench.admit(2, ask("two", 3))
    while not any(isinstance(event, Finished) for event in bench.events[1]):
        assert bench.events[2] == [Queued(2, 1)]
        bench.step()
    assert [type(event) for event in bench.events[2]] == [Queued, Started]


@pytest.fixture
def memory(loaded: LoadedModel) -> Memory:
    """Room for two sequences of up to 512 tokens."""
    return Memory(8_000_000 + 1_600_000, 0, CacheSize.of(loaded.model))


def test_a_request_waits_for_memory_and_is_told_its_place(
    make_bench: MakeBench, memory: Memory
) -> None:
    bench = make_bench(memory=memory, prompt_cache_bytes=10_000_000)
    for request_id in range(4):
        bench.admit(request_id, ask(f"{request_id}" * 300, 5))
    bench.step()
    waiting = {i: events for i, events in bench.events.items() if i > 1}
    assert waiting == {2: [Queued(2, 1)], 3: [Queued(3, 2)]}
    bench.run()
    assert [bench.finished(i).usage.completion_tokens for i in range(4)] == [5] * 4
    assert Queued(3, 1) in bench.events[3]


def test_a_prompt_that_can_never_fit_fails_with_the_arithmetic(
    make_bench: MakeBench, memory: Memory
) -> None:
    bench = make_bench(memory=memory)
    bench.admit(0, ask("w" * 2000, 5))
    bench.admit(1, ask("short", 5))
    bench.run()
    failed = bench.events[0][-1]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.param) == ("insufficient_memory", None)
    assert "the prompt has 2001 tokens" in failed.message
    assert bench.finished(1).reason == "length"


def test_answers_that_outgrow_the_memory_wait_and_go_on(
    make_bench: MakeBench, alone: Alone, memory: Memory
) -> None:
    requests = [ask(letter * 200, 400, seed=1) for letter in "ab"]
    bench = make_bench(memory=memory)
    for request_id, request in enumerate(requests):
        bench.admit(request_id, request)
    running = set()
    while bench.scheduler.busy:
        bench.step()
        running.add(len(bench.scheduler._batch))
    assert running == {2, 1, 0}
    for request_id, request in enumerate(requests):
        assert bench.text(request_id) == alone(request)
        assert bench.finished(request_id).usage.completion_tokens == 400


def test_a_request_whose_prompt_is_cached_waits_for_memory_before_its_first_step(
    make_bench: MakeBench, alone: Alone, memory: Memory
) -> None:
    requests = [ask(letter * 200, 50) for letter in "ab"]
    bench = make_bench(memory=memory, prompt_cache_bytes=10_000_000)
    bench.admit(0, requests[0])
    bench.run()
    bench.admit(1, requests[1])
    for _ in range(3):
        bench.step()
    bench.admit(2, requests[0])
    memory.budget -= 1_000_000
    bench.run()
    assert (bench.text(1), bench.text(2)) == (alone(requests[1]), alone(requests[0]))


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_when_the_model_fails_in_a_batch_every_answer_goes_on_alone(
    make_bench: MakeBench,
    alone: Alone,
    monkeypatch: pytest.MonkeyPatch,
    cached: bool,
    layers: int,
) -> None:
    """The model fails once, after so many calls of its two layers."""
    generating, reading = (ask("".join(Random(i).choices("abcd ", k=300)), 20) for i in (1, 2))
    bench = make_bench(prefill_step_size=64, prompt_cache_bytes=10_000_000 * cached)
    if cached:
        bench.admit(0, reading)
        bench.run()
    bench.admit(1, generating)
    while not len(bench.scheduler._batch._batch):
        bench.step()
    bench.admit(2, reading)
    if not cached:
        bench.step()

    def fail_once(*arguments: Any, **more: Any) -> Any:
        nonlocal layers
        layers -= 1
        if not layers:
            monkeypatch.undo()
            raise ValueError("not in a batch")
        return compute(*arguments, **more)

    compute = TransformerBlock.__call__
    monkeypatch.setattr(TransformerBlock, "__call__", fail_once)
    bench.run()
    assert not bench.scheduler.figures().batched
    assert (bench.text(1), bench.text(2)) == (alone(generating), alone(reading))


def test_the_prompt_cache_makes_room_for_sequences(make_bench: MakeBench, memory: Memory) -> None:
    bench = make_bench(memory=memory, prompt_cache_bytes=10_000_000)
    for request_id in range(3):
        bench.admit(request_id, ask(f"{request_id}" * 500, 2))
        bench.run()
    assert bench.scheduler.figures().prompt_cache_bytes <= 1_600_000


def test_the_caches_of_short_prompts_stay_in_full_precision_if_told_so(tiny_model: Path) -> None:
    load = Load(str(tiny_model), kv_bits=8, quantized_kv_start=100)
    bench = Bench(load_model(load, lambda _: None), prompt_cache_bytes=10_000_000)
    bench.admit(0, ask("a" * 50, 40))
    bench.admit(1, ask("b" * 200, 40))
    while len(bench.scheduler._batch._batch) < 2:
        bench.step()
    kinds = {type(batch.prompt_cache[0]) for batch in bench.scheduler._batch._batch._batches}
    assert kinds == {BatchKVCache, BatchQuantizedKVCache}
    bench.run()
    bench.admit(2, ask("a" * 50 + bench.text(0) + "c" * 60, 5))
    bench.run()
    assert bench.finished(2).usage.cached_tokens >= 50 + 39


def test_a_long_sequence_is_not_what_short_ones_are_padded_to(
    make_bench: MakeBench, alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CacheSize, "most_padding", lambda _: 500)
    requests = [ask("a" * 20, 30), ask("b" * 60, 30), ask("c" * 900, 30)]
    bench = make_bench()
    for request_id, request in enumerate(requests):
        bench.admit(request_id, request)
    while len(bench.scheduler._batch._batch) < 3:
        bench.step()
    batches = bench.scheduler._batch._batch._batches
    assert sorted(sorted(batch.uids) for batch in batches) == [[0, 1], [2]]
    bench.run()
    assert [bench.text(i) for i in range(3)] == [alone(request) for request in requests]
