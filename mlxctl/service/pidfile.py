"""Which daemon has this home: the process id in the lock file that `mlxd.lock` writes."""

import fcntl
import os
from pathlib import Path

from mlxctl.errors import CommandFailed
from mlxd.config import Config


def owner(lock_file: Path) -> int | None:
    """Return the process id of the daemon that holds `lock_file`, None when none does.

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
    """Whether the socket may belong to a daemon with another home, if none holds this one.

    Only if the configuration names the socket and no service manager has `kept` it: asking there
    would start what does not run.
    """
    return bool(config.server.socket) and not kept


def _exists(pid: int) -> bool:
    # Checked before the lock is tried: holding it for a moment could turn away a starting daemon.
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
