"""Who starts the daemon, whether it runs, why the one before has ended, whether it is outdated."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, bad, good, warning
from mlxctl.errors import CommandFailed
from mlxctl.logs.files import entries_backwards
from mlxctl.service.manager import ServiceStatus
from mlxctl.service.plist import standard_error
from mlxctl.terminal import duration
from mlxd import __version__, paths

_ENTRIES = 50_000  # of the log, that are looked at
_TAIL_BYTES = 4096


class _End(msgspec.Struct):
    """How the last daemon that is no more ended, and when; None for what nobody knows.

    `said` is its last line beside the log, `code` how launchd or systemd saw it end.
    """

    well: bool | None = None
    at: float | None = None
    said: str = ""
    code: str | None = None

    @property
    def crashed(self) -> bool:
        """Whether nobody had asked it to end."""
        return self.well is False or (self.well is None and self.code is not None)


def manager(situation: Facts) -> Iterator[Finding]:
    """Who starts the daemon, and whether that is as it should be."""
    if situation.service_fault is not None:
        yield bad("service", f"it cannot be found out: {situation.service_fault}")
    service = situation.service
    if service is None:
        return
    if service.label is None:
        yield good("service", "none: only mlxctl start starts it, see mlxctl install")
    elif not service.faults:
        yield _of_healthy(service)
    for fault in service.faults:
        yield warning("service", fault.message, fault.fix)


def daemon(situation: Facts) -> Iterator[Finding]:
    """Whether one runs and answers, and how the one before has ended."""
    status = situation.status
    try:
        end = _last_end(situation)
    except CommandFailed as error:
        yield bad("last exit", f"the log cannot be read: {error.message}")
        end = _End()
    failed = bool(end.said) or end.crashed
    if status is not None and status.stopping:
        yield warning("daemon", f"mlxd (pid {status.pid}) is stopping, and accepts no requests")
    elif status is not None:
        uptime = duration(status.uptime_s or 0)
        yield good("daemon", f"mlxd {status.version} runs (pid {status.pid}, for {uptime})")
    elif situation.pid is None and situation.service and situation.service.pid:
        yield warning("daemon", f"mlxd is starting (pid {situation.service.pid})", "mlxctl status")
    elif situation.silence:
        who = f"mlxd (pid {situation.pid}) runs, but" if situation.pid else "mlxd"
        yield bad("daemon", f"{who} does not answer: {situation.silence}", "mlxctl restart")
    elif situation.asleep:
        yield good("daemon", "mlxd is not running; the first connection starts it")
    elif failed:
        yield bad("daemon", "mlxd is not running", "mlxctl start")
    else:
        yield warning("daemon", "mlxd is not running", "mlxctl start")
    yield from _of_end(end, situation)


def version(situation: Facts) -> Iterator[Finding]:
    """Whether an older or newer daemon was left running by an upgrade."""
    status = situation.status
    if status is not None and status.version != __version__:
        yield warning(
            "version",
            f"mlxd {status.version} runs, and {__version__} is installed",
            "mlxctl restart",
        )


def _of_healthy(service: ServiceStatus) -> Finding:
    who = f"{service.manager} ({service.label})"
    if service.starts.startswith("never"):
        return warning("service", f"{who} is told never to start it", "mlxctl enable")
    if not service.loaded:
        return good("service", f"{who} starts it {service.starts}, and is stopped")
    return good("service", f"{who} starts it {service.starts}")


def _of_end(end: _End, situation: Facts) -> Iterator[Finding]:
    how = f" ({end.code})" if end.code else ""
    if end.said:
        yield bad("last exit", f"the last thing it said: {end.said}", "mlxctl start")
    elif end.crashed and situation.pid is not None:
        message = f"the daemon before this one has crashed or was killed{how}"
        yield warning("last exit", message, "mlxctl logs --level warning")
    elif end.crashed and situation.asleep:
        yield warning("last exit", f"it has crashed or was killed{how}", "mlxctl logs -n 20")
    elif end.crashed:
        yield bad("last exit", f"it has crashed or was killed{how}", "mlxctl logs -n 20")
    elif end.well:
        yield good("last exit", "it was asked to stop, and did")


def _last_end(situation: Facts) -> _End:
    service = situation.service
    end = _logged_end(paths.log_file(), running=situation.pid is not None)
    end.code = _code(service)
    if situation.pid is None:
        end.said = _last_words(standard_error(Path((service and service.file) or "")), end.at)
    return end


def _code(service: ServiceStatus | None) -> str | None:
    """Give the status or signal of the last exit; None where that was 0, or is unknown."""
    code = (service.last_exit or "").partition(" (")[0] if service else ""
    return code if code not in ("", "0") else None


def _logged_end(file: Path, *, running: bool) -> _End:
    this_one = running
    for entry in islice(entries_backwards(file), _ENTRIES):
        parts = entry.parts
        if parts is None or parts.logger != "mlxd":
            continue
        if parts.message == "mlxd has stopped":
            return _End(well=True, at=entry.seconds)
        if " serves " in parts.message:
            if not this_one:
                return _End(well=False, at=entry.seconds)
            this_one = False
    return _End()


def _last_words(file: Path, since: float | None) -> str:
    """Give the last line that was printed beside the log after `since`, in Unix seconds."""
    try:
        with file.open("rb") as opened_file:
            status = file.stat()
            if since is not None and status.st_mtime < since:
                return ""  # of an earlier one
            opened_file.seek(max(0, status.st_size - _TAIL_BYTES))
            lines = opened_file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
