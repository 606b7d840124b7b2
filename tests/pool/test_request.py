"""How long the parts of a request take."""

import asyncio

import pytest

from mlxd.messages import ChoiceEvent, Delta, Finished, PrefillProgress, Started, Usage
from mlxd.pool.request import Timing

STARTED: list[ChoiceEvent] = [(0, Started(1, 5, 0))]
PREFILL: list[ChoiceEvent] = [(0, PrefillProgress(1, 2, 5))]
PIECE: list[ChoiceEvent] = [(0, Delta(1, "a"))]
END: list[ChoiceEvent] = [(0, Finished(1, "stop", Usage(5, 0, 1)))]


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The event loop's time, to be set by a test."""
    now = [100.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
    return now


async def run(timing: Timing, clock: list[float], *steps: tuple[float, list[ChoiceEvent]]) -> None:
    for time, events in steps:
        clock[0] = time
        timing.note(events)


async def test_the_parts_of_an_answer(clock: list[float]) -> None:
    timing = Timing()
    await run(timing, clock, (101, STARTED), (102, PREFILL), (103, PIECE), (104, PIECE), (107, END))
    assert (timing.queue, timing.prefill, timing.decode) == (1, 2, 4)


async def test_the_decode_time_of_an_answer_that_came_at_once_is_unknown(
    clock: list[float],
) -> None:
    timing = Timing()
    await run(timing, clock, (103, [*STARTED, *PIECE, *END]))
    assert (timing.queue, timing.prefill, timing.decode) == (3, 0, None)


async def test_times_are_unknown_before_they_are_measured(clock: list[float]) -> None:
    timing = Timing()
    assert (timing.queue, timing.prefill, timing.decode) == (None, None, None)


async def test_only_the_last_try_counts(clock: list[float]) -> None:
    timing = Timing()
    await run(timing, clock, (101, STARTED), (102, PIECE))
    timing.restart()
    await run(timing, clock, (105, STARTED), (106, PIECE), (109, END))
    assert (timing.queue, timing.prefill, timing.decode) == (5, 1, 3)
