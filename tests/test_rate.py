"""How much comes in a second."""

import pytest

from mlxd.rate import Rate
from tests.support.clock import Clock


def test_the_rate_is_the_mean_of_the_window(clock: Clock) -> None:
    rate = Rate(5.0, clock)
    assert rate.per_second() == 0
    for _ in range(200):
        rate.add(4)
        clock.now += 0.1
    assert rate.per_second() == pytest.approx(40, rel=0.05)
    clock.now += 2
    assert rate.per_second() == pytest.approx(40 * 3 / 5, rel=0.1)
    clock.now += 6
    assert rate.per_second() == 0


def test_the_first_count_is_seen_at_once(clock: Clock) -> None:
    rate = Rate(5.0, clock)
    rate.add(3)
    assert rate.per_second() == 12
