"""A real terminal, tmux, and its screen as text."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.daemon_process import DEADLINE, wait_until

needs_tmux = pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux")


@dataclass(frozen=True)
class Terminal:
    """A terminal in which a command or a shell runs."""

    socket: Path

    def tmux(self, *arguments: str) -> str:
        command = ["tmux", "-u", "-S", str(self.socket), *arguments]
        done = subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE)
        return done.stdout.decode()

    def screen(self) -> str:
        """What is to be seen now, without the spaces at the ends of lines."""
        return self.tmux("capture-pane", "-p", "-t", "0")

    def lines(self) -> list[str]:
        """The screen as lines, also those that are empty."""
        return [line.rstrip() for line in self.screen().split("\n")[:-1]]

    def escapes(self) -> str:
        """The screen with the sequences for its colors."""
        return self.tmux("capture-pane", "-p", "-e", "-t", "0")

    def is_normal(self) -> bool:
        """Whether the usual screen is shown, with a cursor."""
        flags = self.tmux("display-message", "-p", "-t", "0", "#{alternate_on} #{cursor_flag}")
        return flags.split() == ["0", "1"]

    def wait_for(self, text: str) -> str:
        """Wait until `text` is to be seen; return the screen."""
        wait_until(lambda: text in self.screen(), f"the terminal shows {text!r}")
        return self.screen()

    def wait_for_line(self, line: str) -> list[str]:
        """Wait until a line is `line`; return the screen."""
        wait_until(lambda: line in self.lines(), f"the terminal shows {line!r}")
        return self.lines()

    def press(self, *keys: str) -> None:
        """Press keys, named as tmux does: "q", "C-c", "Enter"."""
        self.tmux("send-keys", "-t", "0", *keys)

    def type(self, line: str) -> None:
        """Type a line and Enter."""
        self.tmux("send-keys", "-t", "0", "-l", line)
        self.press("Enter")

    def resize(self, width: int, height: int) -> None:
        """Change the size, of which the program is told."""
        self.tmux("resize-window", "-t", "0", "-x", str(width), "-y", str(height))


@contextmanager
def terminal(
    folder: Path, command: Sequence[str], *, width: int = 80, height: int = 24
) -> Iterator[Terminal]:
    """Run `command` in a terminal, which lasts as long as the block.

    When it has ended, its exit status is on the screen.
    """
    script = f'{shlex.join(command)}; echo "exit status $?"; read -r _'
    with _running(folder, width, height, "sh", "-c", script) as shown:
        yield shown


@contextmanager
def shell(folder: Path, *, width: int = 80, height: int = 24) -> Iterator[Terminal]:
    """Run a shell in a terminal, which lasts as long as the block; `mlxctl` is a command there."""
    with _running(folder, width, height, "sh") as shown:
        program = f"{shlex.quote(sys.executable)} -m mlxctl"
        shown.type(f'mlxctl() {{ {program} "$@"; }}; PS1="$ "; clear')
        shown.wait_for_line("$")
        yield shown


@contextmanager
def _running(folder: Path, width: int, height: int, *command: str) -> Iterator[Terminal]:
    shown = Terminal(folder / "tmux")
    size = ("-x", str(width), "-y", str(height))
    start = ["tmux", "-u", "-S", str(shown.socket), "-f", os.devnull, "new-session", "-d", *size]
    subprocess.run([*start, *command], check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    try:
        yield shown
    finally:
        shown.tmux("kill-server")
