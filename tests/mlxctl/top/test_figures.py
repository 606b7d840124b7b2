"""Figures in few columns."""

import pytest

from mlxctl.top.figures import count, seconds, share, speed


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0.0124, "12 ms"),
        (0.9996, "1.0 s"),
        (9.96, "9 s"),
        (59.9, "59 s"),
        (200, "3 min"),
        (7300, "2 h"),
        (200_000, "2 d"),
    ],
)
def test_seconds(value: float | None, shown: str) -> None:
    assert seconds(value) == shown
    assert len(shown) <= 6


def test_speeds_counts_and_shares() -> None:
    assert [speed(value) for value in (None, 0, 4.26, 99.96, 12_345)] == [
        "-",
        "0",
        "4.3",
        "100",
        "12,345",
    ]
    assert [count(None), count(12_345)] == ["-", "12,345"]
    assert [share(1, 3), share(0, 0)] == ["33%", "-"]
