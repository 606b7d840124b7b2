"""The daemon as seen from outside: whether it runs, answers or stops, and how one ended."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mlxctl.client import HEALTH, Client
from mlxctl.errors import CommandFailed, NoAnswer, NotRunning, RefusedByDaemon
from mlxd import control_api, lock, paths, run_record
from mlxd.config import Config
from mlxd.control_api import Status
from mlxd.run_record import RunEnd

START_SECONDS = 30.0

_POLL_SECONDS = 0.02
_STOP_SECONDS = 15.0  # beyond the drain timeout
_QUIET_SECONDS = 2.0
_REPORT_SECONDS = 1.0


class Probe:
    """Watches the daemon of this home, whoever started it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._client = Client(config.socket_file(), warn=False)
        self._made_at = time.time()

    @property
    def socket_file(self) -> Path:
        """Where the daemon answers."""
        return self._client.socket_file

    @property
    def stop_limit(self) -> float:
        """How many seconds a stop may take."""
        return self._config.server.drain_timeout + _STOP_SECONDS

    def pid(self) -> int | None:
        """Return the daemon's process id, None if none runs."""
        return lock.holder(paths.lock_file())

    def status(self) -> Status | None:
        """Return the daemon's status, None if it does not answer."""
        try:
            return self._client.call(control_api.STATUS)
        except CommandFailed:
            return None

    def healthy(self) -> Status | None:
        """Return the daemon's status, None until it answers and can generate."""
        try:
            self._client.call(HEALTH)
            return self._client.call(control_api.STATUS)
        except (NotRunning, NoAnswer, RefusedByDaemon):
            return None

    def wait_for_other(self, pid: int) -> Status | None:
        """Return the status of the daemon `pid` once it answers, None if it ends instead."""
        for _ in until(START_SECONDS):
            try:
                return self._client.call(control_api.STATUS)
            except (NotRunning, NoAnswer):
                if self.pid() != pid:
                    return None
        raise NoAnswer(f"mlxd (pid {pid}) runs, but does not answer on {self.socket_file}")

    def wait_for_end(self, pid: int, seconds: float, report: Callable[[str], None]) -> bool:
        """Wait up to `seconds` for the daemon `pid` to end, and tell whether it has."""
        return wait(lambda: self.pid() != pid, seconds, lambda: report(self._waits_for(pid)))

    def last_end(self) -> RunEnd | None:
        """Return how the daemon before the running one ended, or the last one if none runs."""
        record = run_record.read(paths.run_record_file())
        if record is None:
            return None
        return record.previous if record.pid == self.pid() else record.end

    def start_failure(self) -> str:
        """Return the error of a daemon that started since this object was made and failed.

        Empty if there is none.
        """
        record = run_record.read(paths.run_record_file())
        if record is None or record.ended is None or record.started_at < self._made_at:
            return ""
        return record.ended.message

    def _waits_for(self, pid: int) -> str:
        status = self.status()
        requests = sum(model.requests for model in status.models) if status else 0
        if requests:
            return f"waiting for {requests} running request{'s' if requests > 1 else ''}…"
        return f"waiting for mlxd (pid {pid}) to end…"


def may_be_elsewhere(config: Config, *, kept: bool) -> bool:
    """Whether the socket may belong to a daemon with another home, if none holds this one.

    Only if the configuration names the socket and no service manager has `kept` it: asking there
    would start what does not run.
    """
    return bool(config.server.socket) and not kept


def until(seconds: float) -> Iterator[float]:
    """Yield the time again and again, with a pause between, until `seconds` have passed."""
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        yield now
        time.sleep(_POLL_SECONDS)


def wait(done: Callable[[], bool], seconds: float, report: Callable[[], None]) -> bool:
    """Wait up to `seconds` until `done`, and return whether it is; `report` that it takes long."""
    reported = time.monotonic() + _QUIET_SECONDS - _REPORT_SECONDS
    for now in until(seconds):
        if done():
            return True
        if now >= reported + _REPORT_SECONDS:
            reported = now
            report()
    return False
