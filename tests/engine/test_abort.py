"""A request aborted in any of its states ends once, frees everything and disturbs no other."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mlxd.engine.loader import LoadedModel
from mlxd.generate_request import Draft, GenerateRequest
from mlxd.messages import Delta, Event, Failed, Finished, PrefillProgress, Queued, Started, Usage
from tests.support.scheduler_bench import Alone, Bench, MakeBench, ask

PART = 8
"""The tokens of a prompt that a step reads."""
PROMPT = "y" * 30
CACHE = {"prompt_cache_bytes": 10_000_000}

Reached = Callable[[list[Event]], bool]


def is_start(event: Event) -> bool:
    return isinstance(event, Started)


def has_read(tokens: int) -> Reached:
    return lambda events: PrefillProgress(1, tokens, len(PROMPT)) in events


def is_answering(events: list[Event]) -> bool:
    return any(isinstance(event, Delta) for event in events)


RUNNING: dict[str, Reached] = {
    "before the first step": lambda events: bool(events),
    "after the first part of the prompt": has_read(PART),
    "in the middle of the prompt": has_read(2 * PART),
    "while it answers": is_answering,
}


@pytest.fixture(params=RUNNING.values(), ids=RUNNING.keys())
def reached(request: pytest.FixtureRequest) -> Reached:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=["in the batch", "with a draft model"])
def draft(request: pytest.FixtureRequest, tiny_model: Path) -> Draft | None:
    return Draft(str(tiny_model), 2) if request.param == "with a draft model" else None


def step_until(bench: Bench, request_id: int, reached: Reached) -> None:
    while not reached(bench.events.get(request_id, [])):
        assert bench.scheduler.busy
        bench.step()


def check_the_others(bench: Bench, alone: Alone, others: dict[int, GenerateRequest]) -> None:
    """Run to the end: each request ends once, `others` as if alone, and the next is served."""
    bench.run()
    others = {**others, 99: ask("the next one", 12)}
    bench.admit(99, others[99])
    bench.run()
    for request_id, request in others.items():
        assert bench.text(request_id) == alone(request)
        assert bench.finished(request_id).reason == "length"
    for events in bench.events.values():
        assert [isinstance(event, Finished | Failed) for event in events].count(True) == 1


@pytest.mark.parametrize("settings", [{}, CACHE], ids=["no cache", "prompt cache"])
def test_a_running_request_ends_and_the_others_continue(
    make_bench: MakeBench,
    alone: Alone,
    tiny_model: Path,
    draft: Draft | None,
    reached: Reached,
    settings: dict[str, int],
) -> None:
    bench = make_bench(prefill_step_size=PART, **settings)
    others = {0: ask("answers already", 40), 2: ask("x" * 30, 20), 3: ask("z" * 50, 10)}
    others[4] = ask("drafted", 30, draft=Draft(str(tiny_model), 2))
    for request_id in (0, 4):
        bench.admit(request_id, others[request_id])
        step_until(bench, request_id, is_answering)
    bench.admit(2, others[2])
    bench.admit(1, ask(PROMPT, 4000, draft=draft))
    bench.admit(3, others[3])
    step_until(bench, 1, reached)
    bench.abort(1)
    assert bench.finished(1).reason == "abort"
    check_the_others(bench, alone, others)


def test_the_only_request_ends_and_leaves_nothing_to_do(
    make_bench: MakeBench, alone: Alone, draft: Draft | None, reached: Reached
) -> None:
    bench = make_bench(prefill_step_size=PART)
    bench.admit(1, ask(PROMPT, 4000, draft=draft))
    step_until(bench, 1, reached)
    bench.abort(1)
    assert not bench.scheduler.busy
    answered = sum(len(e.text) for e in bench.events[1] if isinstance(e, Delta))
    assert bench.finished(1) == Finished(1, "abort", Usage(len(PROMPT), 0, answered))
    check_the_others(bench, alone, {})


@pytest.mark.parametrize("again", [1, 2])
def test_aborting_again_does_nothing(
    make_bench: MakeBench, alone: Alone, draft: Draft | None, reached: Reached, again: int
) -> None:
    bench = make_bench(prefill_step_size=PART)
    other = ask("stays", 20)
    bench.admit(0, other)
    bench.admit(1, ask(PROMPT, 4000, draft=draft))
    step_until(bench, 1, reached)
    bench.abort(1)
    for _ in range(again):
        assert bench.scheduler.abort(1) == []
        bench.step()
    check_the_others(bench, alone, {0: other})


def test_a_request_ends_before_the_step_that_answers_its_prompt_of_one_token(
    make_bench: MakeBench, alone: Alone
) -> None:
    bench = make_bench()
    bench.admit(1, ask("y"))
    bench.abort(1)
    assert bench.finished(1) == Finished(1, "abort", Usage(1, 0, 0))
    check_the_others(bench, alone, {})


def test_requests_in_different_states_are_aborted_at_once(
    make_bench: MakeBench, alone: Alone, tiny_model: Path
) -> None:
    bench = make_bench(prefill_step_size=PART, decode_concurrency=4, **CACHE)
    bench.admit(0, ask("answers", 4000))
    bench.admit(1, ask("drafted", 4000, draft=Draft(str(tiny_model), 2)))
    step_until(bench, 0, is_answering)
    bench.admit(2, ask("r" * 50, 4000))
    bench.admit(3, ask("r" * 50, 4000))  # waits for 2, which reads the same prompt
    bench.step()
    bench.admit(4, ask("just admitted", 4000))
    bench.admit(5, ask("waits for a place", 4000))
    prepared = bench.expect(6, ask("is prepared", 4000))
    assert {i for i in bench.events if any(map(is_start, bench.events[i]))} == {0, 1, 2, 4}
    for request_id in (3, 0, 6, 4, 1, 5, 2):
        bench.abort(request_id)
        assert bench.finished(request_id).reason == "abort"
    assert not bench.scheduler.busy
    assert bench.scheduler.admit(prepared) == []
    check_the_others(bench, alone, {})


def test_the_prompt_cache_keeps_what_an_aborted_answer_has_computed(
    make_bench: MakeBench, alone: Alone, draft: Draft | None
) -> None:
    bench = make_bench(prefill_step_size=PART, **CACHE)
    bench.admit(1, ask(PROMPT, 4000, draft=draft))
    step_until(bench, 1, is_answering)
    bench.abort(1)
    again = ask(PROMPT, 10)
    bench.admit(2, again)
    check_the_others(bench, alone, {2: again})
    assert bench.finished(2).usage.cached_tokens == len(PROMPT) - 1


@pytest.mark.parametrize("parts", [1, 2])
def test_the_part_of_a_prompt_that_was_read_is_kept(
    make_bench: MakeBench, alone: Alone, draft: Draft | None, parts: int
) -> None:
    bench = make_bench(prefill_step_size=PART, **CACHE)
    bench.admit(1, ask(PROMPT, 4000, draft=draft))
    step_until(bench, 1, has_read(parts * PART))
    bench.abort(1)
    again = ask(PROMPT, 10)
    bench.admit(2, again)
    check_the_others(bench, alone, {2: again})
    assert bench.finished(2).usage.cached_tokens == parts * PART


def test_a_request_that_is_being_prepared_is_never_started(
    make_bench: MakeBench, alone: Alone, draft: Draft | None
) -> None:
    bench = make_bench()
    other = ask("stays", 20)
    bench.admit(0, other)
    prepared = bench.expect(1, ask(PROMPT, 4000, draft=draft))
    bench.abort(1)
    assert bench.finished(1) == Finished(1, "abort", Usage(0, 0, 0))
    assert bench.scheduler.admit(prepared) == []
    assert bench.scheduler.abort(1) == []
    check_the_others(bench, alone, {0: other})


def test_a_preparation_that_fails_after_the_abort_is_not_reported(
    make_bench: MakeBench, loaded: LoadedModel, alone: Alone
) -> None:
    bench = make_bench()
    failed = bench.expect(1, ask("w" * (loaded.context_length + 1)))
    assert isinstance(failed, Failed)
    assert not bench.scheduler.busy
    bench.abort(1)
    assert bench.scheduler.admit(failed) == []
    assert not bench.scheduler.busy
    check_the_others(bench, alone, {})


def test_a_request_whose_preparation_has_failed_cannot_be_aborted(
    make_bench: MakeBench, loaded: LoadedModel, alone: Alone
) -> None:
    bench = make_bench()
    bench.admit(1, ask("w" * (loaded.context_length + 1)))
    bench.abort(1)
    assert [type(event) for event in bench.events[1]] == [Failed]
    check_the_others(bench, alone, {})


def test_a_request_whose_draft_model_was_rejected_cannot_be_aborted(
    make_bench: MakeBench, alone: Alone, tmp_path: Path
) -> None:
    bench = make_bench()
    bench.admit(1, ask(PROMPT, 10, draft=Draft(str(tmp_path / "none"), 2)))
    step_until(bench, 1, lambda events: any(isinstance(event, Failed) for event in events))
    events = list(bench.events[1])
    bench.abort(1)
    assert bench.events[1] == events
    assert not bench.scheduler.busy
    check_the_others(bench, alone, {})


@pytest.mark.parametrize("aborted", [1, 2, 3])
def test_a_request_that_waits_for_a_place_leaves_the_line(
    make_bench: MakeBench, alone: Alone, draft: Draft | None, aborted: int
) -> None:
    bench = make_bench(decode_concurrency=1)
    requests = {i: ask(f"request {i}", 8, draft=draft) for i in range(4)}
    for request_id, request in requests.items():
        bench.admit(request_id, request)
    bench.step()
    bench.abort(aborted)
    waited = len(f"request {aborted}")
    assert bench.events[aborted][-1] == Finished(aborted, "abort", Usage(waited, 0, 0))
    del requests[aborted]
    check_the_others(bench, alone, requests)
    began = [i for i, events in bench.events.items() if any(map(is_start, events))]
    assert began == [*requests, 99]


def test_the_place_of_an_aborted_request_goes_to_the_first_in_line(
    make_bench: MakeBench, alone: Alone, draft: Draft | None, reached: Reached
) -> None:
    bench = make_bench(prefill_step_size=PART, decode_concurrency=1)
    bench.admit(1, ask(PROMPT, 4000, draft=draft))
    waiting = {2: ask("first", 5), 3: ask("second", 5)}
    for request_id, request in waiting.items():
        bench.admit(request_id, request)
    step_until(bench, 1, reached)
    bench.abort(1)
    assert bench.scheduler.busy
    bench.step()
    assert any(map(is_start, bench.events[2]))
    assert not any(map(is_start, bench.events[3]))
    check_the_others(bench, alone, waiting)


def test_a_request_that_waits_for_a_prompt_does_not_disturb_its_reader(
    make_bench: MakeBench, alone: Alone
) -> None:
    bench = make_bench(prefill_step_size=PART, **CACHE)
    same = ask(PROMPT, 10)
    for request_id in range(3):
        bench.admit(request_id, same)
    step_until(bench, 0, lambda events: PrefillProgress(0, PART, len(PROMPT)) in events)
    bench.abort(1)
    assert bench.events[1] == [Queued(1, 1), Finished(1, "abort", Usage(len(PROMPT), 0, 0))]
    check_the_others(bench, alone, {0: same, 2: same})
    assert bench.finished(2).usage.cached_tokens == len(PROMPT) - 1


@pytest.mark.parametrize("parts", [0, 1, 2])
def test_when_the_reader_of_a_prompt_is_aborted_a_waiting_request_reads_it(
    make_bench: MakeBench, alone: Alone, parts: int
) -> None:
    bench = make_bench(prefill_step_size=PART, **CACHE)
    same = ask(PROMPT, 10)
    for request_id in (1, 2, 3):
        bench.admit(request_id, same)
    if parts:
        step_until(bench, 1, has_read(parts * PART))
    bench.abort(1)
    check_the_others(bench, alone, {2: same, 3: same})
    assert [bench.finished(i).usage.cached_tokens for i in (2, 3)] == [
        parts * PART,
        len(PROMPT) - 1,
    ]


def test_a_request_that_has_finished_stays_finished(
    make_bench: MakeBench, alone: Alone, draft: Draft | None
) -> None:
    bench = make_bench()
    other = ask("stays", 30)
    bench.admit(0, other)
    bench.admit(1, ask(PROMPT, 3, draft=draft))
    step_until(bench, 1, lambda events: isinstance(events[-1], Finished))
    bench.abort(1)
    assert bench.finished(1).reason == "length"
    check_the_others(bench, alone, {0: other})


@pytest.mark.parametrize("running", [False, True])
def test_an_unknown_id_is_ignored(make_bench: MakeBench, alone: Alone, running: bool) -> None:
    bench = make_bench()
    other = ask("stays", 10)
    if running:
        bench.admit(0, other)
        bench.step()
    assert bench.scheduler.abort(7) == []
    assert bench.scheduler.busy == running
    check_the_others(bench, alone, {0: other} if running else {})
