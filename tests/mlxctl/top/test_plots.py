"""Bars of block characters, and the figures that they show."""

import pytest

from mlxctl.top.plots import Plot, fitted, plots
from tests.support.overviews import overview


def bars(*values: float | None, rows: int = 1, full: float | None = None) -> list[str]:
    return Plot("", "", values, "", full).bars(len(values), rows)


def test_a_bar_is_as_high_as_its_share_of_the_largest_value() -> None:
    assert bars(1, 2, 3, 4, 5, 6, 7, 8) == ["▂▂▃▄▅▆▇█"]
    assert bars(80, 40) == ["█▄"]


def test_two_lines_have_twice_the_heights() -> None:
    assert bars(16, 12, 8, 3, rows=2) == ["█▄  ", "███▃"]


def test_nothing_is_a_line_a_little_is_more_and_the_unknown_is_empty() -> None:
    assert bars(0, 0.001, None, 100) == ["▁▂ █"]
    assert bars(0, 0) == ["▁▁"]


def test_a_full_bar_can_be_given() -> None:
    assert bars(5, 20, full=10) == ["▄█"]


@pytest.mark.parametrize(
    ("values", "columns", "shown"),
    [
        ([1, 2], 3, [None, 1, 2]),
        ([1, 2], 5, [None, 1, 1, 2, 2]),
        ([1, 7, 3, None, None, None], 3, [7, 3, None]),
        ([1, 2], 0, []),
        ([], 2, [None, None]),
    ],
)
def test_values_are_repeated_or_the_largest_of_a_group_is_taken(
    values: list[float | None], columns: int, shown: list[float | None]
) -> None:
    assert fitted(values, columns) == shown


def test_the_figures() -> None:
    assert {plot.title: plot.now for plot in plots(overview())} == {
        "generated": "184 tok/s",
        "first token": "180 ms",
        "running": "3",
        "waiting": "1",
        "prompt cache": "89%, 1.2 GB",
        "memory": "9.0 GB/18 GB",
        "prompts read": "0 tok/s",
        "between tokens": "12 ms",
    }


def test_the_step_that_goes_on_has_the_speed_of_the_last_seconds() -> None:
    generated = plots(overview())[0]
    assert generated.values[-3:] == [160.0, 176.0, 184.2]
