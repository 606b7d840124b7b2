"""Who starts the daemon, whether it runs, why the last one ended, and whether it is outdated."""

import contextlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from mlxctl.doctor.finding import Finding, bad, good, warning
from mlxctl.doctor.situation import Situation
from mlxctl.errors import CommandFailed
from mlxctl.logs.files import end_of_lines, opened
from mlxctl.logs.history import backwards
from mlxctl.text import duration
from mlxd import __version__, paths

_ENTRIES = 50_000  # of the log, that are looked at
_TAIL_BYTES = 4096


def manager(situation: Situation) -> Iterator[Finding]:
    """Whether launchd, systemd or Homebrew starts it, and as this mlxctl would have it."""
    service = situation.service
    if situation.service_fault is not None:
        yield bad("service", situation.service_fault)
    elif service.label is None:
        yield good("service", "none: mlxctl start runs it; mlxctl install has it start by itself")
    for fault in service.faults:
        message, _, mend = fault.rpartition(": ")
        yield warning("service", message, mend)
    if service.label is not None and not service.faults:
        yield good("service", f"{service.manager} ({service.label}) starts it {service.starts}")


def daemon(situation: Situation) -> Iterator[Finding]:
    """Whether one runs and answers."""
    status, service = situation.status, situation.service
    if status is None and service.pid is not None and situation.pid is None:
        yield warning("daemon", f"mlxd is starting (pid {service.pid})", "mlxctl status")
    elif status is None and situation.asleep:
        yield good("daemon", "mlxd is not running; the first connection starts it")
    elif status is None and situation.silence:
        who = f"mlxd (pid {situation.pid}) runs, but" if situation.pid else "mlxd"
        yield bad("daemon", f"{who} does not answer: {situation.silence}", "mlxctl restart")
    elif status is None:
        yield warning("daemon", "mlxd is not running", "mlxctl start")
    elif status.stopping:
        yield warning("daemon", f"mlxd (pid {status.pid}) is stopping, and accepts no requests")
    else:
        uptime = duration(status.uptime_s or 0)
        yield good("daemon", f"mlxd {status.version} runs (pid {status.pid}, for {uptime})")


def version(situation: Situation) -> Iterator[Finding]:
    """Whether an older or newer daemon was left running by an upgrade."""
    status = situation.status
    if status is not None and status.version != __version__:
        yield warning(
            "version",
            f"mlxd {status.version} runs, and {__version__} is installed",
            "mlxctl restart",
        )


def last_exit(situation: Situation) -> Iterator[Finding]:
    """How the last daemon ended, or the one before that which runs."""
    try:
        ended = _ended_as_asked(paths.log_file(), running=situation.status is not None)
    except CommandFailed as error:
        yield bad("last exit", f"the log cannot be read: {error.message}")
        return
    said = "" if situation.status is not None else _last_words()
    if said:
        yield bad("last exit", f"the last thing it said: {said}", "mlxctl logs -n 20")
    elif ended is None:
        return
    elif ended:
        yield good("last exit", "it was asked to stop, and did")
    elif situation.status is None and situation.pid is None:
        how = situation.service.last_exit
        told = f" ({how})" if how not in (None, "0") else ""
        yield bad("last exit", f"it has crashed or was killed{told}", "mlxctl logs -n 20")
    else:
        message = "the daemon before this one has crashed or was killed"
        yield warning("last exit", message, "mlxctl logs --level warning")


def _ended_as_asked(file: Path, *, running: bool) -> bool | None:
    """Say whether the last daemon that is no more ended well, None where the log does not know."""
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(log) for log in opened(file)]
        if not logs:
            return None
        this_one = running
        for entry in islice(backwards(logs, end_of_lines(logs[0])), _ENTRIES):
            parts = entry.parts
            if parts is None or parts.logger != "mlxd":
                continue
            if parts.message == "mlxd has stopped":
                return True
            if " serves " in parts.message:
                if not this_one:
                    return False
                this_one = False
        return None


def _last_words() -> str:
    """Give the last line that was printed beside the log, where nothing was logged after it."""
    file = paths.stderr_file()
    try:
        with file.open("rb") as opened_file:
            status = os.fstat(opened_file.fileno())
            if paths.log_file().exists() and status.st_mtime < paths.log_file().stat().st_mtime:
                return ""
            opened_file.seek(max(0, status.st_size - _TAIL_BYTES))
            lines = opened_file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
