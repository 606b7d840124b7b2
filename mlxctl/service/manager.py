"""What every service manager can do, and what it tells about the service."""

import os
import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from mlxctl.errors import CommandFailed, NoAnswer, NotRunning
from mlxctl.service.description import Mode
from mlxctl.service.probe import START_SECONDS, Probe, until
from mlxd import paths
from mlxd.config import Config
from mlxd.control_api import Status
from mlxd.files import write_atomically

Report = Callable[[str], None]

_KILL_SECONDS = 5.0


class Fault(msgspec.Struct, frozen=True):
    """Something wrong with the service; `fix` is the command that corrects it."""

    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.message}: {self.fix}"


class ServiceStatus(msgspec.Struct, kw_only=True):
    """Who is in charge of the daemon, and what is wrong with that.

    `loaded` says whether the manager watches over the daemon now, `pid` which process it has
    started, and `starts` when it does; `keeps_sockets` says whether it listens while the daemon
    does not run.
    """

    manager: str
    label: str | None = None
    file: str | None = None
    loaded: bool = False
    pid: int | None = None
    keeps_sockets: bool = False
    starts: str = "by mlxctl start"
    last_exit: str | None = None
    faults: list[Fault] = []

    def as_json(self) -> dict[str, Any]:
        """Return what `mlxctl status --json` shows; each fault is one line there."""
        return {**msgspec.to_builtins(self), "faults": [str(fault) for fault in self.faults]}


class ServiceManager(ABC):
    """Starts and stops the one daemon of this home.

    `start`, `restart` and `stop` tell `report` what they wait for.
    """

    name: ClassVar[str]
    is_homebrews: ClassVar[bool] = False
    """Whether `brew services` made the service."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._daemon = Probe(config)

    @abstractmethod
    def describe(self) -> ServiceStatus:
        """Return who is in charge, and what is wrong with that."""

    def pid(self) -> int | None:
        """Return the daemon's process id, None if none runs; anyone may have started it."""
        return self._daemon.pid()

    def start(self, report: Report) -> Status:
        """Start the daemon, or wait for one that is starting, until it answers.

        If one is stopping, wait for its end first.

        Raises:
            CommandFailed: it does not start, and the message says why.
        """
        if (pid := self.pid()) is not None:
            status = self._daemon.wait_for_other(pid)
            if status is not None and not status.stopping:
                return status
            if not self._daemon.wait_for_end(pid, self._daemon.stop_limit, report):
                raise CommandFailed(f"mlxd (pid {pid}) is still stopping. See: mlxctl status")
        return self._start()

    @abstractmethod
    def restart(self, report: Report) -> Status:
        """Let running requests finish, and return the status of the daemon that comes after.

        Raises:
            CommandFailed: as `stop` and `start`.
        """

    def stop(self, report: Report) -> None:
        """Let running requests finish and end the daemon; if it is stopping already, only wait.

        Raises:
            NotRunning: there is no daemon, and nothing that would start one.
            CommandFailed: it had to be killed, or cannot be.
        """
        pid = self.pid()
        if not self._unload(report) and pid is None:
            raise NotRunning("mlxd is not running")
        if pid is not None and self.pid() == pid:
            self._terminate(pid, report)  # the service manager did not start it

    @abstractmethod
    def _start(self) -> Status:
        """Start the daemon where none runs, and return its status once it answers."""

    @abstractmethod
    def _unload(self, report: Report) -> bool:
        """End what the service manager started, and would start; return whether there is any."""

    def _wait_for_answer(self, failure: Callable[[], str]) -> Status:
        """Return the status of the daemon that was started, once it answers.

        Raises:
            CommandFailed: it ends instead; `failure` returns how, or an empty text.
            NoAnswer: it does not answer in time.
        """
        for _ in until(START_SECONDS):
            # Asked only while it runs: a connection to a kept socket would start another one.
            if (pid := self.pid()) and (status := self._daemon.healthy()) and status.pid == pid:
                return status
            ended = failure()  # before the record is read, which may then have the reason
            if why := self._daemon.start_failure() or ended:
                raise CommandFailed(f"mlxd did not start: {why}")
        where = self._daemon.socket_file
        raise NoAnswer(f"mlxd did not answer on {where} within {START_SECONDS:g} s")

    def _terminate(self, pid: int, report: Report) -> None:
        status = self._daemon.status()
        if status is None or not status.stopping:  # a second signal would cut requests short
            _signal(pid, signal.SIGTERM)
        limit = self._daemon.stop_limit
        if self._daemon.wait_for_end(pid, limit, report):
            return
        _signal(pid, signal.SIGKILL)
        if self._daemon.wait_for_end(pid, _KILL_SECONDS, report):
            raise CommandFailed(f"mlxd (pid {pid}) did not stop within {limit:g} s and was killed")
        raise CommandFailed(f"mlxd (pid {pid}) cannot be killed")


class Installer(ServiceManager):
    """A service manager that starts the daemon by itself, once the service is installed.

    Every method raises CommandFailed where the manager refuses, and ConfigError where the
    configuration is at fault.
    """

    file: Path
    """What describes the service to the manager, once it is installed."""

    @abstractmethod
    def installed(self) -> bool:
        """Whether the service is installed."""

    @abstractmethod
    def preview(self, mode: Mode) -> str:
        """Return what `install` would write."""

    @abstractmethod
    def install(self, mode: Mode, report: Report) -> bool:
        """Install the service that the configuration describes; return whether it changed."""

    @abstractmethod
    def uninstall(self, report: Report) -> None:
        """Stop the daemon and remove the service."""

    @abstractmethod
    def enable(self) -> None:
        """Start the daemon automatically from now on."""

    @abstractmethod
    def disable(self) -> None:
        """Do not start the daemon automatically; a running daemon keeps running."""

    def _write(self, file: Path, content: bytes, user: str | None = None) -> None:
        """Write a file for the service manager, and make the folders that the daemon needs.

        Of a service of the whole machine, the folders are its `user`'s.

        Raises:
            CommandFailed: they cannot be written.
        """
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            for folder in (paths.log_dir(), self._daemon.socket_file.parent):
                _make_folder(folder, user)
            write_atomically(file, content, 0o644)  # launchd refuses one that others may write
            if user is not None:
                os.chown(file, 0, 0)  # and one that does not belong to root and wheel
        except OSError as error:
            where = error.filename or file
            raise CommandFailed(f"{where} cannot be written: {error.strerror}") from error

    def _replace_other(self, report: Report) -> None:
        """End a daemon that was started by hand."""
        if (pid := self.pid()) is not None:
            report(f"stopping mlxd (pid {pid}): from now on {self.name} starts it")
            self._terminate(pid, report)


def _make_folder(folder: Path, user: str | None) -> None:
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=0o700)
        if user is not None:
            shutil.chown(missing, user)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended by itself, as it should
    except PermissionError as error:
        raise CommandFailed(f"mlxd (pid {pid}) is another user's and cannot be stopped") from error
