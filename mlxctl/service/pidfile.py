"""Whose home this is: the process id in the lock file; `mlxd.lock` says what is in it."""

import fcntl
import os
from pathlib import Path

from mlxctl.errors import CommandFailed
from mlxd.config import Config


def owner(lock_file: Path) -> int | None:
    """Give the process id of the daemon that holds `lock_file`, None when nobody does.

    Raises:
        CommandFailed: the file cannot be read.
    """
    try:
        with lock_file.open("rb") as file:
            line, newline, _ = file.read(64).partition(b"\n")
            pid = int(line) if newline and line.isdigit() else 0
            if pid == 0 or not _exists(pid) or _lockable(file.fileno()):
                return None
            return pid
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandFailed(f"{lock_file}: {error.strerror}") from error


def may_be_elsewhere(config: Config, *, kept: bool) -> bool:
    """Whether the socket may be that of a daemon with another home, where none holds this one.

    Only one that the configuration names, and that no service manager has `kept`: asking there
    would start what does not run.
    """
    return bool(config.server.socket) and not kept


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
