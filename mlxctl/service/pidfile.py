"""Whose home this is: the process id in the lock file; `mlxd.lock` says what is in it."""

import fcntl
import os
import time
from pathlib import Path

from mlxctl.errors import CommandFailed
from mlxd.config import Config
from mlxd.control_api import LEAVING

_LEAVING_SECONDS = 1.0
_POLL_SECONDS = 0.02


def owner(lock_file: Path) -> int | None:
    """Give the process id of the daemon that holds `lock_file`, None when nobody does.

    Raises:
        CommandFailed: the file cannot be read.
    """
    pid, _ = _read(lock_file)
    return pid


def staying_owner(lock_file: Path) -> int | None:
    """Give what `owner` does, and None for a daemon whom asking would replace by another.

    That is one that has begun to leave its sockets to launchd or systemd, which start the next for
    whoever connects. It is waited for: for a moment only, as it may have requests to finish.

    Raises:
        CommandFailed: the file cannot be read.
    """
    end = time.monotonic() + _LEAVING_SECONDS
    while True:
        pid, leaves = _read(lock_file)
        if not leaves or time.monotonic() > end:
            return None if leaves else pid
        time.sleep(_POLL_SECONDS)


def may_be_elsewhere(config: Config, *, kept: bool) -> bool:
    """Whether the socket may be that of a daemon with another home, where none holds this one.

    Only one that the configuration names, and that no service manager has `kept`: asking there
    would start what does not run.
    """
    return bool(config.server.socket) and not kept


def _read(lock_file: Path) -> tuple[int | None, bool]:
    """Give whose the file is, and whether that daemon leaves."""
    try:
        with lock_file.open("rb") as file:
            line, newline, rest = file.read(64).partition(b"\n")
            pid = int(line) if newline and line.isdigit() else 0
            if pid == 0 or not _exists(pid) or _lockable(file.fileno()):
                return None, False
            return pid, rest == LEAVING
    except FileNotFoundError:
        return None, False
    except OSError as error:
        raise CommandFailed(f"{lock_file}: {error.strerror}") from error


def _exists(pid: int) -> bool:
    # Asked before the lock is tried: trying it for a moment could turn away a daemon that starts.
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _lockable(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True
