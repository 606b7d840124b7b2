"""A real terminal for tests: a shell in tmux, whose screen can be read and resized."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemon_process import DEADLINE, wait_until

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Terminal:
    """The terminal; a line of `screen()` has no blanks at its end."""

    def __init__(self, socket: Path) -> None:
        self._tmux = ["tmux", "-u", "-f", os.devnull, "-S", str(socket)]

    def start(self, width: int, height: int, environ: dict[str, str]) -> None:
        """Start a shell whose prompt is "$ ", and in which `mlxctl` is a command."""
        function = f'mlxctl() {{ {sys.executable} -m mlxctl "$@"; }}; PS1="$ "'
        self._run("new-session", "-d", "-x", str(width), "-y", str(height), "sh", environ=environ)
        self.type(f"{function}; clear")
        self.wait_for("$")

    def type(self, line: str) -> None:
        """Type a line and Enter."""
        self._run("send-keys", "-l", line)
        self._run("send-keys", "Enter")

    def press(self, *keys: str) -> None:
        """Press keys by their names in tmux, such as "q" or "C-c"."""
        self._run("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        """Change the size of the window, which the program is told of."""
        self._run("resize-window", "-x", str(width), "-y", str(height))

    def screen(self) -> list[str]:
        """Return the lines of the screen, also those that are empty."""
        return [line.rstrip() for line in self._run("capture-pane", "-p").split("\n")[:-1]]

    def escapes(self) -> str:
        """Return the screen with its colors as escape sequences."""
        return self._run("capture-pane", "-p", "-e")

    def is_normal(self) -> bool:
        """Whether the usual screen is shown, with a cursor."""
        flags = self._run("display-message", "-p", "#{alternate_on} #{cursor_flag}")
        return flags.split() == ["0", "1"]

    def wait_for(self, text: str) -> list[str]:
        """Wait until a line of the screen begins with `text`, and return the screen."""
        wait_until(lambda: any(line.startswith(text) for line in self.screen()), text)
        return self.screen()

    def close(self) -> None:
        """End the shell and what runs in it."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=DEADLINE)

    def _run(self, *arguments: str, environ: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            [*self._tmux, *arguments],
            env=None if environ is None else {**os.environ, **environ},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
            timeout=DEADLINE,
        )
        return done.stdout


@contextmanager
def running_terminal(width: int, height: int, **environ: str) -> Iterator[Terminal]:
    """Run a shell in a terminal of that size until the block ends."""
    with tempfile.TemporaryDirectory(prefix="tmux") as folder:
        terminal = Terminal(Path(folder) / "s")
        known = {"ENV": "", "LC_ALL": "C.UTF-8", "NO_COLOR": "", **environ}
        terminal.start(width, height, known)
        try:
            yield terminal
        finally:
            terminal.close()
