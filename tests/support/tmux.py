"""A real terminal, tmux, and its screen as text."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.daemon_process import wait_until

needs_tmux = pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux")


@dataclass(frozen=True)
class Terminal:
    """A terminal in which a command runs; when it has ended, its exit status is on the screen."""

    socket: Path

    def tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", str(self.socket), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def screen(self) -> str:
        """What is to be seen now, without the spaces at the ends of lines."""
        return self.tmux("capture-pane", "-p", "-t", "0")

    def wait_for(self, text: str) -> str:
        """Wait until `text` is to be seen; return the screen."""
        wait_until(lambda: text in self.screen(), f"the terminal shows {text!r}")
        return self.screen()

    def press(self, *keys: str) -> None:
        """Press keys, named as tmux does: "q", "C-c", "Enter"."""
        self.tmux("send-keys", "-t", "0", *keys)


@contextmanager
def terminal(
    folder: Path, command: Sequence[str], *, width: int = 80, height: int = 24
) -> Iterator[Terminal]:
    """Run `command` in a terminal, which lasts as long as the block."""
    shown = Terminal(folder / "tmux")
    line = " ".join(f"'{word}'" for word in command)
    script = f'{line}; echo "exit status $?"; read -r _'
    size = ("-x", str(width), "-y", str(height))
    start = ["tmux", "-S", str(shown.socket), "-f", os.devnull, "new-session", "-d", *size]
    subprocess.run(
        [*start, "sh", "-c", script], check=True, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )
    try:
        yield shown
    finally:
        shown.tmux("kill-server")
