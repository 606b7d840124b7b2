"""The daemon as it is seen from outside: whether it runs, answers, stops, and what it said last."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mlxctl.client import HEALTH, Client
from mlxctl.errors import CommandFailed, NoAnswer, NotRunning, RefusedByDaemon
from mlxctl.service.pidfile import owner
from mlxd import control_api, paths
from mlxd.config import Config
from mlxd.control_api import Status

START_SECONDS = 30.0

_POLL_SECONDS = 0.02
_STOP_SECONDS = 15.0  # beyond the drain timeout
_QUIET_SECONDS = 2.0
_REPORT_SECONDS = 1.0
_TAIL_BYTES = 4096
_TAIL_LINES = 15
_PREFIX = "mlxd: "


class Probe:
    """Watches the daemon of this home, whoever started it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._client = Client(config.socket_file(), warn=False)

    @property
    def socket_file(self) -> Path:
        """Where the daemon answers."""
        return self._client.socket_file

    @property
    def stop_limit(self) -> float:
        """How many seconds a stop may take."""
        return self._config.server.drain_timeout + _STOP_SECONDS

    def pid(self) -> int | None:
        """Give the daemon's process id, None when none runs."""
        return owner(paths.lock_file())

    def answer_of(self, pid: int) -> Status | None:
        """Give the status of the daemon `pid`, None while it does not answer in good health."""
        try:
            self._client.call(HEALTH)
            status = self._client.call(control_api.STATUS)
        except (NotRunning, NoAnswer, RefusedByDaemon):
            return None
        return status if status.pid == pid else None

    def is_stopping(self) -> bool:
        """Whether the daemon drains."""
        try:
            return self._client.call(control_api.STATUS).stopping
        except CommandFailed:
            return False

    def wait_for_other(self, pid: int) -> Status | None:
        """Give the status of the daemon `pid` once it answers, None when it has ended."""
        for _ in until(START_SECONDS):
            try:
                return self._client.call(control_api.STATUS)
            except (NotRunning, NoAnswer):
                if self.pid() != pid:
                    return None
        raise NoAnswer(f"mlxd (pid {pid}) runs, but does not answer on {self._client.socket_file}")

    def wait_for_end(self, pid: int, seconds: float, report: Callable[[str], None]) -> bool:
        """Wait until the daemon `pid` has ended and say whether it has within `seconds`."""
        reported = time.monotonic() + _QUIET_SECONDS - _REPORT_SECONDS
        for now in until(seconds):
            if self.pid() != pid:
                return True
            if now >= reported + _REPORT_SECONDS:
                reported = now
                report(self._waits_for(pid))
        return False

    def _waits_for(self, pid: int) -> str:
        try:
            requests = sum(model.requests for model in self._client.call(control_api.STATUS).models)
        except CommandFailed:
            requests = 0
        if requests:
            return f"waiting for {requests} running request{'s' if requests > 1 else ''}…"
        return f"waiting for mlxd (pid {pid}) to end…"


def until(seconds: float) -> Iterator[float]:
    """Give the time again and again, with a pause between, until `seconds` have passed."""
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        yield now
        time.sleep(_POLL_SECONDS)


def why_it_ended(code: int) -> str:
    """Give what the daemon said last, or else how it ended."""
    lines = _last_lines(paths.stderr_file())
    if lines and all(line.startswith(_PREFIX) for line in lines):
        said = "; ".join(line.removeprefix(_PREFIX) for line in lines)
        return f"mlxd did not start: {said}"
    how = f"signal {-code}" if code < 0 else f"exit status {code}"
    file = paths.stderr_file() if lines else paths.log_file()
    return f"mlxd did not start ({how}){tail_of(file)}"


def last_words(file: Path) -> str:
    """Give the last line that the daemon printed about itself into `file`; empty for none."""
    lines = _last_lines(file)
    return lines[-1].removeprefix(_PREFIX) if lines and lines[-1].startswith(_PREFIX) else ""


def tail_of(file: Path) -> str:
    """Give the end of `file` as the end of a message; empty where there is nothing in it."""
    lines = _last_lines(file)
    return "".join([f"; the end of {file}:", *(f"\n  {line}" for line in lines)]) if lines else ""


def _last_lines(file: Path) -> list[str]:
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - _TAIL_BYTES))
            text = opened.read().decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()[-_TAIL_LINES:]
