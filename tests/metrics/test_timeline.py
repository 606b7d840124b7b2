"""The last hour, in steps of five seconds."""

import pytest

from mlxd.metrics.timeline import STEPS, Timeline
from tests.support.clock import Clock


@pytest.fixture
def timeline(clock: Clock) -> Timeline:
    return Timeline(clock)


def test_each_step_has_what_happened_in_it(timeline: Timeline, clock: Clock) -> None:
    timeline.add("generated_tokens", 3)
    timeline.add("generated_tokens", 4)
    timeline.observe("inter_token_s", 0.6, count=3)
    timeline.observe("inter_token_s", 0.2)
    clock.now += 10
    timeline.add("generated_tokens", 1)
    history = timeline.read(4)
    assert (history.step_s, history.end) == (5, clock.now + 5)
    assert history.generated_tokens == [0, 7, 0, 1]
    assert history.inter_token_s == [None, pytest.approx(0.2), None, None]


def test_a_gauge_shows_its_most_in_a_step_and_stays_as_it_was(
    timeline: Timeline, clock: Clock
) -> None:
    for level in (2, 5, 1):
        timeline.set("running", level)
    clock.now += 10
    assert timeline.read(3).running == [5, 1, 1]
    timeline.set("running", 0)
    clock.now += 5
    assert timeline.read(2).running == [1, 0]


def test_the_last_hour_is_kept_and_no_more(timeline: Timeline, clock: Clock) -> None:
    for step in range(STEPS + 3):
        timeline.add("requests", step)
        clock.now += 5
    clock.now -= 5
    assert timeline.read().requests == list(range(3, STEPS + 3))


def test_a_long_sleep_leaves_nothing_of_before(timeline: Timeline, clock: Clock) -> None:
    timeline.add("requests", 1)
    timeline.set("memory_bytes", 7)
    clock.now += 86400
    history = timeline.read()
    assert history.requests == [0] * STEPS
    assert history.memory_bytes == [7] * STEPS


def test_a_clock_that_is_set_back_loses_nothing(timeline: Timeline, clock: Clock) -> None:
    timeline.add("requests", 1)
    clock.now -= 3600
    timeline.add("requests", 2)
    clock.now += 5
    timeline.add("requests", 4)
    history = timeline.read(3)
    assert history.requests == [0, 3, 4]
    assert history.end == clock.now + 5
