"""What one request reads and writes, and how long its parts take."""

import pytest

from mlxd.messages import (
    ChoiceEvent,
    Delta,
    Finished,
    PrefillProgress,
    Reasoning,
    Started,
    ToolCall,
    Usage,
)
from mlxd.metrics.metrics import Metrics
from mlxd.metrics.request_meter import RequestMeter
from tests.support.clock import Clock
from tests.support.counts import counted

STARTED: list[ChoiceEvent] = [(0, Started(1, 5, 0))]
PREFILL: list[ChoiceEvent] = [(0, PrefillProgress(1, 2, 5))]
PIECE: list[ChoiceEvent] = [(0, Delta(1, "a"))]
END: list[ChoiceEvent] = [(0, Finished(1, "stop", Usage(5, 0, 1)))]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def meter(metrics: Metrics, clock: Clock) -> RequestMeter:
    return RequestMeter(metrics, "tiny", clock=clock)


def run(meter: RequestMeter, clock: Clock, *steps: tuple[float, list[ChoiceEvent]]) -> None:
    for time, events in steps:
        clock.now = time
        meter.note(events)


def seconds(metrics: Metrics, name: str) -> tuple[int, float]:
    """How many values a histogram has, and their sum."""
    (family,) = (each for each in metrics.families() if each.name == name)
    observed = family.observed[("tiny",)]
    return sum(observed.counts), observed.sum


def test_the_parts_of_an_answer(meter: RequestMeter, clock: Clock) -> None:
    run(meter, clock, (101, STARTED), (102, PREFILL), (103, PIECE), (104, PIECE), (107, END))
    assert (meter.queue, meter.prefill, meter.decode, meter.first_token) == (1, 2, 4, 3)


def test_the_decode_time_of_an_answer_that_comes_goes_on(meter: RequestMeter, clock: Clock) -> None:
    run(meter, clock, (101, STARTED), (103, PIECE))
    clock.now = 106
    assert meter.decode == 3


def test_the_decode_time_of_an_answer_that_came_at_once_is_unknown(
    meter: RequestMeter, clock: Clock
) -> None:
    run(meter, clock, (103, [*STARTED, *PIECE, *END]))
    assert (meter.queue, meter.prefill, meter.decode) == (3, 0, None)


def test_times_are_unknown_before_they_are_measured(meter: RequestMeter) -> None:
    assert (meter.queue, meter.prefill, meter.decode, meter.first_token) == (None,) * 4


def test_only_the_last_try_counts(meter: RequestMeter, clock: Clock) -> None:
    run(meter, clock, (101, STARTED), (102, PIECE))
    meter.restart()
    assert not meter.running
    run(meter, clock, (105, STARTED), (106, PIECE), (109, END))
    assert (meter.queue, meter.prefill, meter.decode) == (5, 1, 3)


def test_tokens_count_as_they_come(meter: RequestMeter, clock: Clock, metrics: Metrics) -> None:
    run(meter, clock, (101, [(0, Started(1, 300, 100, [], 60))]))
    prompts = {("tiny", "disk"): 60, ("tiny", "memory"): 40}
    assert counted(metrics, "mlxd_prompt_tokens") == prompts
    run(meter, clock, (102, [(0, PrefillProgress(1, 220, 300))]))
    assert counted(metrics, "mlxd_prompt_tokens") == prompts | {("tiny", "none"): 120}
    run(meter, clock, (103, [(0, Reasoning(1, "a"))]))
    assert counted(metrics, "mlxd_prompt_tokens") == prompts | {("tiny", "none"): 200}
    assert seconds(metrics, "mlxd_request_prefill_tokens_per_second") == (1, 100)
    assert counted(metrics, "mlxd_generation_tokens") == {("tiny",): 1}
    assert (meter.prompt_tokens, meter.cached_tokens, meter.completion_tokens) == (300, 100, 1)


def test_the_end_tells_how_many_tokens_there_were(
    meter: RequestMeter, clock: Clock, metrics: Metrics
) -> None:
    end = Finished(1, "tool_calls", Usage(5, 0, 21))
    run(meter, clock, (101, STARTED), (102, PIECE), (112, [(0, ToolCall(1, "f", "{}")), (0, end)]))
    assert counted(metrics, "mlxd_generation_tokens") == {("tiny",): 21}
    assert seconds(metrics, "mlxd_inter_token_latency_seconds") == (20, pytest.approx(10))


def test_the_choices_of_a_request_count_apart(
    meter: RequestMeter, clock: Clock, metrics: Metrics
) -> None:
    both: list[ChoiceEvent] = [(0, Delta(1, "a")), (1, Delta(2, "b"))]
    run(meter, clock, (101, [*STARTED, (1, Started(2, 5, 4))]), (102, both), (103, both))
    assert counted(metrics, "mlxd_generation_tokens") == {("tiny",): 4}
    assert seconds(metrics, "mlxd_time_to_first_token_seconds") == (1, 2)
    assert seconds(metrics, "mlxd_inter_token_latency_seconds") == (2, 2)


def test_a_count_of_tokens_reads_and_writes_nothing(
    meter: RequestMeter, clock: Clock, metrics: Metrics
) -> None:
    run(meter, clock, (101, [*STARTED, (0, Finished(1, "length", Usage(5, 0, 0)))]))
    assert counted(metrics, "mlxd_prompt_tokens") == {}
    assert counted(metrics, "mlxd_generation_tokens") == {}
    assert meter.first_token is None
