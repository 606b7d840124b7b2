"""How fast an engine generates."""

import pytest

from mlxd.engine import speed
from mlxd.engine.speed import Speed


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(speed, "time", clock)
    return clock


def test_the_mean_of_the_last_seconds(clock: Clock) -> None:
    counted = Speed()
    assert counted.per_second() == 0
    for _ in range(200):
        counted.add(4)
        clock.now += 0.1
    assert counted.per_second() == pytest.approx(40, rel=0.05)
    clock.now += 2
    assert counted.per_second() == pytest.approx(40 * 3 / 5, rel=0.1)
    clock.now += 6
    assert counted.per_second() == 0


def test_the_first_tokens_count_at_once(clock: Clock) -> None:
    counted = Speed()
    counted.add(3)
    assert counted.per_second() == 12
