"""What keeps a benchmark within its time."""

import pytest

from mlxctl.bench.forecast import Deadline, Forecast
from mlxctl.bench.runs import Run


def run(prompt: int, streams: int, *, first: float, tokens: int, wall: float) -> Run:
    return Run([prompt] * streams, [tokens] * streams, [[first, wall]] * streams, wall)


def test_what_was_measured_takes_as_long_again() -> None:
    forecast = Forecast()
    forecast.learn(100, run(100, 4, first=1.0, tokens=50, wall=3.0))
    assert forecast.seconds(100, 4, 50) == 3.0


def test_what_was_not_measured_takes_as_long_as_with_what_is_known() -> None:
    forecast = Forecast()
    forecast.learn(100, run(100, 1, first=1.0, tokens=50, wall=2.0))  # 100 and 50 tokens/s
    assert forecast.seconds(400, 1, 50) == pytest.approx(4.0 + 1.0)
    assert forecast.seconds(400, 2, 50) == pytest.approx(8.0 + 2.0)
    forecast.learn(400, run(400, 1, first=8.0, tokens=50, wall=9.0))  # long ones take longer
    assert forecast.seconds(400, 2, 50) == pytest.approx(16.0 + 2.0)


def test_nothing_is_known_at_first() -> None:
    assert Forecast().seconds(100, 1, 50) == 0.0


def test_deadline() -> None:
    now = [100.0]
    deadline = Deadline(60.0, clock=lambda: now[0])
    now[0] += 45
    assert (deadline.taken, deadline.left) == (45.0, 15.0)
    now[0] += 45
    assert deadline.left == 0.0
