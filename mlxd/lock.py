"""One daemon a home: a lock file that is held for the daemon's life and tells its process id."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from mlxd.errors import StartupError


@contextlib.contextmanager
def hold(file: Path) -> Iterator[None]:
    """Hold the lock in `file`, making its folder (mode 0700) where needed.

    Raises:
        StartupError: another daemon holds it, or the folder cannot be written.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartupError(f"{file} cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 32).decode(errors="replace").strip()
            raise StartupError(
                f"another mlxd (pid {owner or 'unknown'}) runs on this home: {file} is locked"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
