"""What every service manager can do."""

from collections.abc import Callable
from typing import Protocol

from mlxd.api.control import Status


class ServiceManager(Protocol):
    """Starts and stops the one daemon of this home."""

    def pid(self) -> int | None:
        """Give the daemon's process id, None when none runs."""
        ...

    def start(self, report: Callable[[str], None]) -> Status:
        """Start the daemon, or wait for one that is starting, until it answers.

        One that is stopping is waited for first; `report` is told what is waited for.

        Raises:
            CommandFailed: it does not come up, and the message says why.
        """
        ...

    def stop(self, report: Callable[[str], None]) -> None:
        """Let running requests finish and end the daemon; `report` is told what is waited for.

        One that is stopping already is only waited for.

        Raises:
            NotRunning: there is none.
            CommandFailed: it had to be killed, or cannot be.
        """
        ...
