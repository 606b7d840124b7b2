"""`mlxctl top` in a real terminal, with a daemon whose replies are fixed."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mlxd import lock
from tests.support.daemon_process import wait_until
from tests.support.fake_daemon import FakeDaemon, fake_daemon
from tests.support.overviews import NOT_RUNNING, answer_top
from tests.support.tmux import Terminal, needs_tmux, shell

pytestmark = [needs_tmux, pytest.mark.slow]

SCREENS = Path(__file__).with_name("screens")
COLOR = re.compile(r"\x1b\[3[0-7]m")


def screen(name: str) -> list[str]:
    return (SCREENS / f"{name}.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def terminal(home: Path) -> Iterator[Terminal]:
    """A terminal, which must be as it was when the test ends."""
    with shell(home) as terminal:
        terminal.type(f"stty -a >{home}/before; echo typed before")
        terminal.wait_for_line("typed before")
        yield terminal
        wait_until(terminal.is_normal, "the usual screen")
        terminal.type(f"stty -a >{home}/after; echo typed after")
        shown = terminal.wait_for_line("typed after")
        assert "typed before" in shown
        assert (home / "after").read_text() == (home / "before").read_text()


def shows(terminal: Terminal, lines: list[str]) -> None:
    wait_until(lambda: terminal.lines() == lines, "\n".join(lines))


def ended(terminal: Terminal, status: int) -> None:
    wait_until(terminal.is_normal, "it has ended")
    terminal.type("printf '\\nstatus %s\\n' $?")
    terminal.wait_for_line(f"status {status}")


def test_sizes_keys_and_colors(daemon: FakeDaemon, terminal: Terminal) -> None:
    answer_top(daemon)
    terminal.type("mlxctl top")
    shows(terminal, screen("80x24"))
    assert COLOR.search(terminal.escapes())
    terminal.resize(40, 24)
    shows(terminal, screen("40x24"))
    terminal.resize(80, 24)
    shows(terminal, screen("80x24"))
    terminal.press("x", "Up", "Enter")  # mean nothing
    terminal.press("h")
    wait_until(lambda: terminal.lines()[0].endswith("last hour"), "the last hour")
    terminal.press("h")
    shows(terminal, screen("80x24"))
    terminal.press("q")
    ended(terminal, 0)


def test_the_daemon_stops_and_comes_back(home: Path, terminal: Terminal) -> None:
    terminal.type("NO_COLOR=1 mlxctl top")
    terminal.wait_for_line(NOT_RUNNING)
    with ExitStack() as stack:
        answer_top(stack.enter_context(fake_daemon(home / "run" / "mlxd.sock")))
        stack.enter_context(lock.hold(home / "run" / "mlxd.lock"))
        shows(terminal, screen("80x24"))
        assert not COLOR.search(terminal.escapes())
    terminal.wait_for_line(NOT_RUNNING)
    terminal.press("C-c")
    ended(terminal, 130)


def test_it_can_be_suspended_and_terminated(home: Path, terminal: Terminal) -> None:
    terminal.type(f"sh -c 'echo $$ >{home}/pid; exec {sys.executable} -m mlxctl top'")
    terminal.wait_for_line(NOT_RUNNING)
    terminal.press("C-z")
    wait_until(terminal.is_normal, "it is suspended")
    terminal.type("fg")
    wait_until(lambda: not terminal.is_normal(), "it goes on")
    terminal.wait_for_line(NOT_RUNNING)
    os.kill(int((home / "pid").read_text()), signal.SIGTERM)
    wait_until(terminal.is_normal, "it has ended")
    ended(terminal, 143)


def test_a_terminal_without_control_sequences_gets_it_once(daemon: FakeDaemon) -> None:
    answer_top(daemon)
    with shell(daemon.socket.parent, height=60) as terminal:
        terminal.type("TERM=dumb mlxctl top; echo done")
        shown = terminal.wait_for_line("done")
        assert "requests 1,204  failed 3  tokens generated 1,234,567" in shown
        assert not COLOR.search(terminal.escapes())
