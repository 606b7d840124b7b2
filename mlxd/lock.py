"""One daemon a home: a lock file that is held for the daemon's life and tells its process id.

The file's first line is the process id in decimal; `mlxctl.service.owner` reads it at any time. It
means something only while the file is locked (flock).
"""

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
            owner = os.read(descriptor, 32).partition(b"\n")[0].decode(errors="replace")
            raise StartupError(
                f"another mlxd (pid {owner or 'unknown'}) runs on this home: {file} is locked"
            ) from None
        line = f"{os.getpid()}\n".encode()
        os.pwrite(descriptor, line, 0)  # before the old line is cut off: a reader always finds one
        os.ftruncate(descriptor, len(line))
        yield
    finally:
        os.close(descriptor)
