"""One daemon a home: a lock file, held for the daemon's life, that contains its process id.

The process id, in decimal and with a newline, counts only while the file is locked (flock);
`mlxctl.service.pidfile` reads it at any time.
"""

import fcntl
import os
from pathlib import Path
from typing import Self

from mlxd.errors import StartupError


class Lock:
    """A lock that this process holds until it exits, or to the end of a `with` block."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        line = f"{os.getpid()}\n".encode()
        os.pwrite(descriptor, line, 0)  # before the truncation: a reader always finds a line
        os.ftruncate(descriptor, len(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def hold(file: Path) -> Lock:
    """Lock `file`, and make its folder (mode 0700) if needed.

    Raises:
        StartupError: another daemon holds the lock, or the file cannot be written.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartupError(f"{file} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 32).partition(b"\n")[0].decode(errors="replace")
        os.close(descriptor)
        raise StartupError(
            f"another mlxd (pid {owner or 'unknown'}) runs on this home: {file} is locked"
        ) from None
    return Lock(descriptor)
