"""Without a service manager: the daemon as a process in a session of its own."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlxctl.errors import CommandFailed, NotRunning
from mlxctl.service.manager import ServiceStatus
from mlxctl.service.probe import START_SECONDS, Probe, until
from mlxd import paths, run_record
from mlxd.config import Config
from mlxd.control_api import Status
from mlxd.run_record import RunRecord

if TYPE_CHECKING:
    import subprocess

_KILL_SECONDS = 5.0
_TAIL_LINES = 15
_LOG_FILE = "--log-file"


class ProcessManager:
    """Starts the daemon with this environment and `config`; see `ServiceManager`."""

    is_homebrews = False

    def __init__(self, config: Config) -> None:
        self._config = config
        self._daemon = Probe(config)

    def pid(self) -> int | None:
        """Return the daemon's process id, None when none runs."""
        return self._daemon.pid()

    def keeps_sockets(self) -> bool:
        """Return False: nothing listens while no daemon runs."""
        return False

    def describe(self) -> ServiceStatus:
        """Describe the absence of a service manager."""
        running = self.pid() is not None
        end = None if running else self._daemon.last_end()
        return ServiceStatus(manager="none", loaded=running, last_exit=str(end) if end else None)

    def start(self, report: Callable[[str], None]) -> Status:
        """Start the daemon, or wait for one that is starting, until it answers.

        If one is stopping, wait for its end first; `report` gets a line on each wait.

        Raises:
            CommandFailed: it does not start, and the message says why.
        """
        return self._start(report, None)

    def restart(self, report: Callable[[str], None]) -> Status:
        """Stop the daemon if it runs, then start it; connections are refused in between.

        The new daemon gets the flags and the folder of the old one, and those of its `MLXD_…`
        variables that this environment does not set.
        """
        pid, before = self.pid(), None
        if pid is not None:
            before = self._record_of(pid)
            self.stop(report)
        return self._start(report, before)

    def stop(self, report: Callable[[str], None]) -> None:
        """Let running requests finish and end the daemon; `report` gets a line on each wait.

        If it is stopping already, only wait.

        Raises:
            NotRunning: there is none.
            CommandFailed: it had to be killed, or cannot be.
        """
        pid = self.pid()
        if pid is None:
            raise NotRunning("mlxd is not running")
        if not self._daemon.is_stopping():  # a second signal would cut its requests short
            _signal(pid, signal.SIGTERM)
        limit = self._daemon.stop_limit
        if self._daemon.wait_for_end(pid, limit, report):
            return
        _signal(pid, signal.SIGKILL)
        if self._daemon.wait_for_end(pid, _KILL_SECONDS, report):
            raise CommandFailed(f"mlxd (pid {pid}) did not stop within {limit:g} s and was killed")
        raise CommandFailed(f"mlxd (pid {pid}) cannot be killed")

    def _start(self, report: Callable[[str], None], before: RunRecord | None) -> Status:
        if pid := self.pid():
            status = self._daemon.wait_for_other(pid)
            if status is not None and not status.stopping:
                return status
            if not self._daemon.wait_for_end(pid, self._daemon.stop_limit, report):
                raise CommandFailed(f"mlxd (pid {pid}) is still stopping; see: mlxctl status")
        process = self._spawn(before)
        for _ in until(START_SECONDS):
            if status := self._daemon.answer_of(process.pid):
                return status
            if (code := process.poll()) is not None:
                # Of two that start at once, one takes the lock; the other ends and is no failure.
                if (pid := self.pid()) and (status := self._daemon.wait_for_other(pid)):
                    return status
                raise CommandFailed(f"mlxd did not start{self._why_it_ended(code)}")
        process.kill()
        process.wait()
        raise CommandFailed(
            f"mlxd (pid {process.pid}) did not answer on {self._daemon.socket_file} within "
            f"{START_SECONDS:g} s and was killed{_end_of(paths.log_file())}"
        )

    def _record_of(self, pid: int) -> RunRecord | None:
        """Return how the daemon `pid` was started, if it listens where this shell looks for it."""
        record = run_record.read(paths.run_record_file())
        known = record is not None and record.pid == pid and self._daemon.listens()
        return record if known else None

    def _spawn(self, before: RunRecord | None) -> "subprocess.Popen[bytes]":
        import subprocess  # `mlxctl status` imports this module and starts nothing

        arguments = before.arguments if before else []
        if not any(each.partition("=")[0] == _LOG_FILE for each in arguments):
            arguments = [_LOG_FILE, str(paths.log_file()), *arguments]
        output = _open_output(paths.stderr_file())
        try:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "mlxd", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=before.folder if before and os.path.isdir(before.folder) else "/",
                env=(before.environment if before else {}) | self._environment(),
                start_new_session=True,
            )
        finally:
            os.close(output)

    def _environment(self) -> dict[str, str]:
        """Return this environment with absolute paths: the daemon lives in another folder."""
        server, models = self._config.server, self._config.models
        absolute = {
            "MLXD_HOME": str(paths.home()),
            "MLXD_SERVER__SOCKET": server.socket,
            "MLXD_MODELS__DIRS": ",".join(models.dirs),
        }
        return dict(os.environ) | {
            name: value for name, value in absolute.items() if os.environ.get(name)
        }

    def _why_it_ended(self, code: int) -> str:
        if message := self._daemon.start_failure():
            return f": {message}"
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f" ({how}){_end_of(paths.stderr_file()) or _end_of(paths.log_file())}"


def _end_of(file: Path) -> str:
    """Return the last lines of `file` as the end of a message; empty if it has none."""
    from mlxctl.programs import last_lines  # as in _spawn

    lines = last_lines(file, _TAIL_LINES)
    return "".join([f"; the end of {file}:", *(f"\n  {line}" for line in lines)]) if lines else ""


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
