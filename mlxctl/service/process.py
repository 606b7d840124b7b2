"""The service manager of machines that have none: the daemon as a process of its own session."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mlxctl.client import Client
from mlxctl.errors import CommandFailed, NoAnswer, NotRunning, RefusedByDaemon
from mlxctl.service.owner import owner
from mlxd import paths
from mlxd.api.control import Status
from mlxd.config import Config

_POLL_SECONDS = 0.02
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0  # beyond the drain timeout
_KILL_SECONDS = 5.0
_QUIET_SECONDS = 2.0
_REPORT_SECONDS = 1.0
_TAIL_BYTES = 4096
_TAIL_LINES = 15
_PREFIX = "mlxd: "


class ProcessManager:
    """Starts the daemon with what this environment and `config` say; see `ServiceManager`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._client = Client(config.socket_file(), warn=False)

    def pid(self) -> int | None:
        """Give the daemon's process id, None when none runs."""
        return owner(paths.lock_file())

    def start(self, report: Callable[[str], None]) -> Status:
        """Start the daemon, or wait for one that is starting, until it answers.

        One that is stopping is waited for first; `report` is told what is waited for.

        Raises:
            CommandFailed: it does not come up, and the message says why.
        """
        if pid := self.pid():
            status = self._wait_for_other(pid)
            if status is not None and not status.stopping:
                return status
            if not self._wait_for_end(pid, self._stop_limit(), report):
                raise CommandFailed(f"mlxd (pid {pid}) is still stopping; see: mlxctl status")
        process = self._spawn()
        for _ in _until(_START_SECONDS):
            if status := self._answer_of(process.pid):
                return status
            if (code := process.poll()) is not None:
                # Of two that start at once, one takes the lock; the other ends and is no failure.
                if (pid := self.pid()) and (status := self._wait_for_other(pid)):
                    return status
                raise CommandFailed(_why_it_ended(code))
        process.kill()
        process.wait()
        raise CommandFailed(
            f"mlxd (pid {process.pid}) did not answer on {self._client.socket_file} within "
            f"{_START_SECONDS:g} s and was killed{_tail_of(paths.log_file())}"
        )

    def stop(self, report: Callable[[str], None]) -> None:
        """Let running requests finish and end the daemon; `report` is told what is waited for.

        One that is stopping already is only waited for.

        Raises:
            NotRunning: there is none.
            CommandFailed: it had to be killed, or cannot be.
        """
        pid = self.pid()
        if pid is None:
            raise NotRunning("mlxd is not running")
        if not self._is_stopping():  # a second signal would cut its requests short
            _signal(pid, signal.SIGTERM)
        limit = self._stop_limit()
        if self._wait_for_end(pid, limit, report):
            return
        _signal(pid, signal.SIGKILL)
        if self._wait_for_end(pid, _KILL_SECONDS, report):
            raise CommandFailed(f"mlxd (pid {pid}) did not stop within {limit:g} s and was killed")
        raise CommandFailed(f"mlxd (pid {pid}) cannot be killed")

    def _spawn(self) -> "subprocess.Popen[bytes]":
        output = _open_output(paths.stderr_file())
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "mlxd", "--log-file", str(paths.log_file())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=self._environment(),
                start_new_session=True,
            )
        finally:
            os.close(output)

    def _environment(self) -> dict[str, str]:
        """Give this environment with its relative paths made absolute: the daemon lives in "/"."""
        server, models = self._config.server, self._config.models
        absolute = {
            "MLXD_HOME": str(paths.home()),
            "MLXD_SERVER__SOCKET": server.socket,
            "MLXD_MODELS__DIRS": ",".join(models.dirs),
        }
        return dict(os.environ) | {
            name: value for name, value in absolute.items() if os.environ.get(name)
        }

    def _answer_of(self, pid: int) -> Status | None:
        """Give the status of the daemon `pid`, None while it does not answer in good health."""
        try:
            self._client.health()
            status = self._client.status()
        except (NotRunning, NoAnswer, RefusedByDaemon):
            return None
        return status if status.pid == pid else None

    def _stop_limit(self) -> float:
        return self._config.server.drain_timeout + _STOP_SECONDS

    def _is_stopping(self) -> bool:
        try:
            return self._client.status().stopping
        except CommandFailed:
            return False

    def _wait_for_other(self, pid: int) -> Status | None:
        """Give the status of the daemon `pid` once it answers, None when it has ended."""
        for _ in _until(_START_SECONDS):
            try:
                return self._client.status()
            except (NotRunning, NoAnswer):
                if self.pid() != pid:
                    return None
        raise NoAnswer(f"mlxd (pid {pid}) runs, but does not answer on {self._client.socket_file}")

    def _wait_for_end(self, pid: int, seconds: float, report: Callable[[str], None]) -> bool:
        """Wait until the daemon `pid` has ended and say whether it has within `seconds`."""
        reported = time.monotonic() + _QUIET_SECONDS - _REPORT_SECONDS
        for now in _until(seconds):
            if self.pid() != pid:
                return True
            if now >= reported + _REPORT_SECONDS:
                reported = now
                report(self._waits_for(pid))
        return False

    def _waits_for(self, pid: int) -> str:
        try:
            requests = sum(model.requests for model in self._client.status().models)
        except CommandFailed:
            requests = 0
        if requests:
            return f"waiting for {requests} running request{'s' if requests > 1 else ''}…"
        return f"waiting for mlxd (pid {pid}) to end…"


def _until(seconds: float) -> Iterator[float]:
    """Give the time again and again, with a pause between, until `seconds` have passed."""
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        yield now
        time.sleep(_POLL_SECONDS)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended by itself, as it should
    except PermissionError as error:
        raise CommandFailed(f"mlxd (pid {pid}) is another user's and cannot be stopped") from error


def _open_output(file: Path) -> int:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror}") from error


def _why_it_ended(code: int) -> str:
    """Give what the daemon said last, or else how it ended."""
    lines = _last_lines(paths.stderr_file())
    if lines and all(line.startswith(_PREFIX) for line in lines):
        said = "; ".join(line.removeprefix(_PREFIX) for line in lines)
        return f"mlxd did not start: {said}"
    how = f"signal {-code}" if code < 0 else f"exit status {code}"
    file = paths.stderr_file() if lines else paths.log_file()
    return f"mlxd did not start ({how}){_tail_of(file)}"


def _tail_of(file: Path) -> str:
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
