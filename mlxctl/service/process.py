"""The service manager of machines that have none: the daemon as a process of its own session."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlxctl.errors import CommandFailed, NotRunning
from mlxctl.service.manager import ServiceStatus
from mlxctl.service.probe import START_SECONDS, Probe, tail_of, until, why_it_ended
from mlxd import paths
from mlxd.config import Config
from mlxd.control_api import Status

if TYPE_CHECKING:
    import subprocess

_KILL_SECONDS = 5.0


class ProcessManager:
    """Starts the daemon with what this environment and `config` say; see `ServiceManager`."""

    is_homebrews = False

    def __init__(self, config: Config) -> None:
        self._config = config
        self._daemon = Probe(config)

    def pid(self) -> int | None:
        """Give the daemon's process id, None when none runs."""
        return self._daemon.pid()

    def keeps_sockets(self) -> bool:
        """Nobody listens for a daemon that does not run."""
        return False

    def describe(self) -> ServiceStatus:
        """Give who is in charge: nobody but the daemon itself."""
        return ServiceStatus(manager="none", loaded=self.pid() is not None)

    def restart(self, report: Callable[[str], None]) -> Status:
        """Stop the daemon if it runs, then start it; connections are refused in between."""
        if self.pid() is not None:
            self.stop(report)
        return self.start(report)

    def start(self, report: Callable[[str], None]) -> Status:
        """Start the daemon, or wait for one that is starting, until it answers.

        One that is stopping is waited for first; `report` is told what is waited for.

        Raises:
            CommandFailed: it does not come up, and the message says why.
        """
        if pid := self.pid():
            status = self._daemon.wait_for_other(pid)
            if status is not None and not status.stopping:
                return status
            if not self._daemon.wait_for_end(pid, self._daemon.stop_limit, report):
                raise CommandFailed(f"mlxd (pid {pid}) is still stopping; see: mlxctl status")
        process = self._spawn()
        for _ in until(START_SECONDS):
            if status := self._daemon.answer_of(process.pid):
                return status
            if (code := process.poll()) is not None:
                # Of two that start at once, one takes the lock; the other ends and is no failure.
                if (pid := self.pid()) and (status := self._daemon.wait_for_other(pid)):
                    return status
                raise CommandFailed(why_it_ended(code))
        process.kill()
        process.wait()
        raise CommandFailed(
            f"mlxd (pid {process.pid}) did not answer on {self._daemon.socket_file} within "
            f"{START_SECONDS:g} s and was killed{tail_of(paths.log_file())}"
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
        if not self._daemon.is_stopping():  # a second signal would cut its requests short
            _signal(pid, signal.SIGTERM)
        self._wait_for_end(pid, report)

    def _wait_for_end(self, pid: int, report: Callable[[str], None]) -> None:
        limit = self._daemon.stop_limit
        if self._daemon.wait_for_end(pid, limit, report):
            return
        _signal(pid, signal.SIGKILL)
        if self._daemon.wait_for_end(pid, _KILL_SECONDS, report):
            raise CommandFailed(f"mlxd (pid {pid}) did not stop within {limit:g} s and was killed")
        raise CommandFailed(f"mlxd (pid {pid}) cannot be killed")

    def _spawn(self) -> "subprocess.Popen[bytes]":
        import subprocess  # `mlxctl status` imports this module and starts nothing

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
