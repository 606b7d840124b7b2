"""One daemon a home: a lock file, held for the daemon's life, that contains its process id.

The process id, in decimal and with a newline, counts only while the file is locked (flock).
"""

import fcntl
import os
from pathlib import Path
from typing import Self

from mlxd.errors import MlxdError, StartupError


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
        pid = os.read(descriptor, 32).partition(b"\n")[0].decode(errors="replace")
        os.close(descriptor)
        raise StartupError(
            f"another mlxd (pid {pid or 'unknown'}) is running: {file} is locked"
        ) from None
    return Lock(descriptor)


def holder(file: Path) -> int | None:
    """Return the process id of the daemon that holds the lock, None if none does.

    Raises:
        MlxdError: the file cannot be read.
    """
    try:
        with file.open("rb") as opened:
            line, newline, _ = opened.read(64).partition(b"\n")
            pid = int(line) if newline and line.isdigit() else 0
            # The process first: to try the lock, if only for a moment, could turn away a daemon
            # that starts.
            return pid if pid and _exists(pid) and _is_locked(opened.fileno()) else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MlxdError(f"{file}: {error.strerror}") from error


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
