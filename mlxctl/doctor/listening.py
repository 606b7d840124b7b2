"""Which programs listen on a TCP port, as far as the system tells this user."""

import shutil
import subprocess
from collections.abc import Iterator

import msgspec

_USUAL_PLACE = "/usr/sbin/lsof"  # on a Mac, where a bare PATH does not lead
_SECONDS = 3.0


class Listener(msgspec.Struct, frozen=True):
    """A program that listens; `address` is like "127.0.0.1:8080", "[::1]:8080" or "*:8080"."""

    pid: int
    program: str
    address: str

    def __str__(self) -> str:
        return f"{self.program} (pid {self.pid})"


def listeners(port: int) -> list[Listener]:
    """Give who listens on `port`; nobody where the system does not tell.

    Those of other users, launchd's own among them, are told to root only.
    """
    program = shutil.which("lsof") or _USUAL_PLACE
    command = [program, "-nP", "+c0", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpcn"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return list(parse(done.stdout))


def parse(output: str) -> Iterator[Listener]:
    """Read what `lsof -Fpcn` prints: a field a line, named by its first letter."""
    pid, program = 0, ""
    for line in output.splitlines():
        field, value = line[:1], line[1:]
        if field == "p":
            pid = int(value)
        elif field == "c":
            program = value
        elif field == "n":
            yield Listener(pid, program, value)
