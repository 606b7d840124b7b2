"""Figures, tables and color."""

import io
import sys

import pytest

from mlxctl import terminal
from mlxctl.terminal import colored, is_screen


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "0 s"),
        (192, "3 min 12 s"),
        (2 * 3600 + 300, "2 h 5 min"),
        (6 * 86400 + 3700, "6 d 1 h"),
    ],
)
def test_a_duration_has_its_two_largest_parts(seconds: float, shown: str) -> None:
    assert terminal.duration(seconds) == shown


def test_a_table_aligns_its_columns() -> None:
    assert (
        terminal.table([("MODEL", "STATE", ""), ("a", "ready", "")]) == "MODEL  STATE\na      ready"
    )


def test_a_note_follows_its_row() -> None:
    rows = [("MODEL", "STATE"), ("a", "ready"), ("b", "failed")]
    assert terminal.table(rows, [None, "no weights"]).splitlines() == [
        "MODEL  STATE",
        "a      ready",
        "b      failed",
        "  no weights",
    ]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _colorful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_a_terminal_has_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Screen())
    assert colored("bad", "red") == "\x1b[31mbad\x1b[0m"
    assert is_screen(sys.stdout)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_color_can_be_declined(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setattr(sys, "stdout", Screen())
    monkeypatch.setenv(name, value)
    assert colored("bad", "red") == "bad"


def test_a_pipe_has_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert colored("bad", "red") == "bad"
    assert not is_screen(sys.stdout)


def test_a_dumb_terminal_is_no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_screen(Screen())
    monkeypatch.setenv("NO_COLOR", "1")
    assert is_screen(Screen())
    monkeypatch.setenv("TERM", "dumb")
    assert not is_screen(Screen())
