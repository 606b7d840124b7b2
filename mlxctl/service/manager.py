"""What every service manager can do, and what it tells about the service."""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from mlxctl.service.description import Mode
from mlxd.control_api import Status

Report = Callable[[str], None]


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


class ServiceManager(Protocol):
    """Starts and stops the one daemon of this home."""

    is_homebrews: bool
    """Whether `brew services` made the service."""

    def pid(self) -> int | None:
        """Return the daemon's process id, None when none runs."""
        ...

    def keeps_sockets(self) -> bool:
        """Whether a connection to the daemon's socket would start it."""
        ...

    def describe(self) -> ServiceStatus:
        """Return who is in charge, and what is wrong with that."""
        ...

    def start(self, report: Report) -> Status:
        """Start the daemon, or wait for one that is starting, until it answers.

        Waits for one that is stopping first, and tells `report` what it waits for.

        Raises:
            CommandFailed: it does not come up, and the message says why.
        """
        ...

    def restart(self, report: Report) -> Status:
        """Let running requests finish, and return the status of the daemon that comes after.

        Raises:
            CommandFailed: as `stop` and `start`.
        """
        ...

    def stop(self, report: Report) -> None:
        """Let running requests finish and end the daemon; tell `report` what it waits for.

        Only waits for a daemon that is stopping already.

        Raises:
            NotRunning: there is no daemon, and nothing that would start one.
            CommandFailed: it had to be killed, or cannot be.
        """
        ...


class Installer(ServiceManager, Protocol):
    """A service manager that starts the daemon by itself, once the service is installed.

    Every method raises CommandFailed where the manager refuses, and ConfigError where the
    configuration is at fault.
    """

    def preview(self, mode: Mode) -> str:
        """Return what `install` would write."""
        ...

    def install(self, mode: Mode, report: Report) -> bool:
        """Install the service that the configuration describes; return whether it changed."""
        ...

    def uninstall(self, report: Report) -> bool:
        """Stop the daemon and remove the service; return whether there was one."""
        ...

    def enable(self) -> None:
        """Start the daemon automatically from now on."""
        ...

    def disable(self) -> None:
        """Do not start the daemon automatically; a running daemon keeps running."""
        ...
