"""Running another program, and reading the end of its output file."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlxctl.errors import CommandFailed

_TAIL_BYTES = 4096


@dataclass(frozen=True)
class ProgramResult:
    """A program that has ended: its exit status, negative for a signal, and its output."""

    command: str
    status: int
    output: str
    errors: str

    @property
    def reason(self) -> str:
        """The last line of standard error, or else how the program ended."""
        lines = self.errors.strip().splitlines()
        if lines:
            return lines[-1].strip()
        return f"killed by signal {-self.status}" if self.status < 0 else f"status {self.status}"

    def demand(self) -> "ProgramResult":
        """Return this result if the program succeeded.

        Raises:
            CommandFailed: the exit status is not 0.
        """
        if self.status:
            raise CommandFailed(f"{self.command} failed: {self.reason}")
        return self


def run(command: Sequence[str | Path], *, seconds: float) -> ProgramResult:
    """Run `command` without input, for at most `seconds`.

    Raises:
        CommandFailed: it cannot be started, or does not end in time.
    """
    import subprocess  # slow to import, and `mlxctl status` may not need it

    words = [os.fspath(word) for word in command]
    try:
        done = subprocess.run(
            words, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds, check=False
        )
    except OSError as error:
        raise CommandFailed(f"{words[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{' '.join(words)} did not end within {seconds:g} s") from error
    return ProgramResult(
        " ".join(words),
        done.returncode,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )


def last_lines(file: Path, count: int) -> list[str]:
    """Return the last `count` lines of a text file, fewer if they are very long.

    A file that cannot be read has no lines.
    """
    try:
        with file.open("rb") as opened:
            start = max(0, os.fstat(opened.fileno()).st_size - _TAIL_BYTES)
            opened.seek(start)
            text = opened.read().decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()[-count:]
