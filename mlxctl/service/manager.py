"""What every service manager can do."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from mlxctl.service.description import Mode
from mlxd.control_api import Status

Report = Callable[[str], None]


class ServiceStatus(msgspec.Struct, kw_only=True):
    """Who is in charge of the daemon, and what is to be said of that.

    `loaded` says whether the manager watches over it now, `pid` which process it has started, and
    `starts` when it does; `keeps_sockets` says whether it listens while the daemon does not run.
    `faults` are lines that each say what is wrong and what mends it.
    """

    manager: str
    label: str | None = None
    file: str | None = None
    loaded: bool = False
    pid: int | None = None
    keeps_sockets: bool = False
    starts: str = "by mlxctl start"
    last_exit: str | None = None
    faults: list[str] = []


class ServiceManager(Protocol):
    """Starts and stops the one daemon of this home."""

    is_homebrews: bool
    """Whether it is `brew services` that made the service."""

    def pid(self) -> int | None:
        """Give the daemon's process id, None when none runs."""
        ...

    def keeps_sockets(self) -> bool:
        """Whether asking on the daemon's socket would start it."""
        ...

    def describe(self) -> ServiceStatus:
        """Give who is in charge, and what is wrong with that."""
        ...

    def start(self, report: Report) -> Status:
        """Start the daemon, or wait for one that is starting, until it answers.

        One that is stopping is waited for first; `report` is told what is waited for.

        Raises:
            CommandFailed: it does not come up, and the message says why.
        """
        ...

    def restart(self, report: Report) -> Status:
        """Let running requests finish, and give the status of the daemon that comes after.

        Raises:
            CommandFailed: as `stop` and `start`.
        """
        ...

    def stop(self, report: Report) -> None:
        """Let running requests finish and end the daemon; `report` is told what is waited for.

        One that is stopping already is only waited for.

        Raises:
            NotRunning: there is none, and nobody who would start one.
            CommandFailed: it had to be killed, or cannot be.
        """
        ...


class Installer(ServiceManager, Protocol):
    """A service manager that starts the daemon by itself, once it has been told of it.

    Every method raises CommandFailed where the manager refuses, and ConfigError where the
    configuration is at fault.
    """

    def preview(self, mode: Mode) -> str:
        """Give what `install` would write."""
        ...

    def install(self, mode: Mode, report: Report) -> bool:
        """Make the service what the configuration says, and tell whether anything was changed."""
        ...

    def uninstall(self, report: Report) -> bool:
        """Stop the daemon, take the service out, and tell whether there was one."""
        ...

    def enable(self) -> None:
        """Have the service started by itself from now on."""
        ...

    def disable(self) -> None:
        """Have it never started by itself; one that runs goes on."""
        ...
