"""What one request reads and writes, and how long its parts take."""

import pytest

from mlxd.messages import ChoiceEvent, Delta, Finished, PrefillProgress, Started, Usage
from mlxd.metrics.metrics import Metrics
from mlxd.metrics.request_meter import RequestMeter

STARTED: list[ChoiceEvent] = [(0, Started(1, 5, 0))]
PREFILL: list[ChoiceEvent] = [(0, PrefillProgress(1, 2, 5))]
PIECE: list[ChoiceEvent] = [(0, Delta(1, "a"))]
END: list[ChoiceEvent] = [(0, Finished(1, "stop", Usage(5, 0, 1)))]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(clock: Clock) -> RequestMeter:
    return RequestMeter(Metrics(), "tiny", clock=clock)


def run(meter: RequestMeter, clock: Clock, *steps: tuple[float, list[ChoiceEvent]]) -> None:
    for time, events in steps:
        clock.now = time
        meter.note(events)


def test_the_parts_of_an_answer(meter: RequestMeter, clock: Clock) -> None:
    run(meter, clock, (101, STARTED), (102, PREFILL), (103, PIECE), (104, PIECE), (107, END))
    assert (meter.queue, meter.prefill, meter.decode) == (1, 2, 4)


def test_the_decode_time_of_an_answer_that_came_at_once_is_unknown(
    meter: RequestMeter, clock: Clock
) -> None:
    run(meter, clock, (103, [*STARTED, *PIECE, *END]))
    assert (meter.queue, meter.prefill, meter.decode) == (3, 0, None)


def test_times_are_unknown_before_they_are_measured(meter: RequestMeter) -> None:
    assert (meter.queue, meter.prefill, meter.decode) == (None, None, None)


def test_only_the_last_try_counts(meter: RequestMeter, clock: Clock) -> None:
    run(meter, clock, (101, STARTED), (102, PIECE))
    meter.restart()
    run(meter, clock, (105, STARTED), (106, PIECE), (109, END))
    assert (meter.queue, meter.prefill, meter.decode) == (5, 1, 3)
