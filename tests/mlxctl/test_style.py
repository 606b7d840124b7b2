"""Colour, where somebody sees it."""

import io
import sys

import pytest

from mlxctl.style import coloured, is_screen


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _colourful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_a_terminal_has_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Screen())
    assert coloured("bad", "red") == "\x1b[31mbad\x1b[0m"
    assert is_screen(sys.stdout)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_declines_it_has_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setattr(sys, "stdout", Screen())
    monkeypatch.setenv(name, value)
    assert coloured("bad", "red") == "bad"


def test_a_pipe_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert coloured("bad", "red") == "bad"
    assert not is_screen(sys.stdout)


def test_what_cannot_be_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_screen(Screen())
    monkeypatch.setenv("NO_COLOR", "1")
    assert is_screen(Screen())
    monkeypatch.setenv("TERM", "dumb")
    assert not is_screen(Screen())
