"""The view as text, at the sizes that terminals have."""

from pathlib import Path

import msgspec
import pytest

from mlxctl.top.drawing import draw, draw_fault, draw_once
from mlxctl.top.overview import Overview
from tests.support.overviews import activity, overview, status

SCREENS = Path(__file__).with_name("screens")


def drawn(width: int, height: int, found: Overview | None = None) -> list[str]:
    lines = draw(found or overview(), width, height)
    assert len(lines) == height
    assert max(line.cell_len for line in lines) <= width
    return [line.plain.rstrip() for line in lines]


@pytest.mark.parametrize("file", sorted(SCREENS.iterdir()), ids=lambda file: file.stem)
def test_the_view(file: Path) -> None:
    width, height = map(int, file.stem.split("x"))
    assert drawn(width, height) == file.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (20, 5), (39, 10), (60, 12), (300, 90)])
def test_every_size_is_filled_and_not_exceeded(size: tuple[int, int]) -> None:
    drawn(*size)


def test_a_small_screen_has_the_most_important_and_says_what_is_left_out() -> None:
    lines = drawn(60, 12)
    assert lines[1].startswith("generated")
    assert "Qwen3-8B-4bit" in lines[5]
    assert lines[6] == "… and 1 more"
    assert lines[-1].endswith("q quit  h last hour")


def test_an_idle_daemon_says_which_model_requests_load() -> None:
    quiet = msgspec.structs.replace(activity(), requests=[])
    found = Overview(status=msgspec.structs.replace(status(), models=[]), activity=quiet, pulls=[])
    lines = drawn(80, 24, found)
    assert lines[10] == "no model in memory; the default is tiny"
    assert set(lines[11:-1]) == {""}


def test_a_daemon_that_stops_says_so() -> None:
    found = overview()
    found.status.stopping = True
    assert drawn(80, 24, found)[0].startswith("mlxd 0.1.0 is stopping  for 3 h 12 min")


def test_callers_are_told_apart_only_if_there_are_several() -> None:
    found = overview()
    assert any("laptop" in line for line in drawn(80, 24, found))
    for request in found.activity.requests:
        request.caller = "anyone"
    assert not any("CALLER" in line or "anyone" in line for line in drawn(80, 24, found))


def test_control_characters_are_shown_and_not_sent() -> None:
    for line in drawn(80, 24):
        assert line.isprintable()
    found = overview()
    found.status.models[0].id = "\x1b]0;title\x07" + "x" * 40
    assert any(line.startswith("\\x1b]0;title\\x07") for line in drawn(80, 24, found))


def test_once_everything_is_said_without_keys() -> None:
    lines = [line.plain.rstrip() for line in draw_once(overview(), 80)]
    assert sum(line.startswith("aborted") for line in lines) == 5
    assert lines[-1] == "requests 1,204  failed 3  tokens generated 1,234,567"


def test_a_fault_is_wrapped_and_can_be_left() -> None:
    lines = draw_fault("mlxd is not running; start it with: mlxctl start", 30, 5)
    assert [line.plain.rstrip() for line in lines] == [
        "mlxd is not running; start it",
        "with: mlxctl start",
        "",
        "",
        "                        q quit",
    ]
