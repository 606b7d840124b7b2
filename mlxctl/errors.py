"""What ends a command of mlxctl, each with its exit status.

    CommandFailed      1   the line says why
    ├── RefusedByDaemon    1   the daemon answered with an error
    ├── NoAnswer           1   something is there, but it does not answer (in time)
    └── NotRunning         3   no daemon

Wrong usage is click's own and ends with 2.
"""

from typing import ClassVar

from mlxd.errors import MlxdError


class CommandFailed(MlxdError):
    """Base of all: `message` is fit for a user, and `exit_status` for a script."""

    exit_status: ClassVar[int] = 1


class RefusedByDaemon(CommandFailed):
    """The daemon answered with an error, whose message this is."""


class NoAnswer(CommandFailed):
    """A daemon that does not answer, or not to the end."""


class NotRunning(CommandFailed):
    """There is no daemon to ask."""

    exit_status = 3

    def __init__(self, message: str = "mlxd is not running; start it with: mlxctl start") -> None:
        super().__init__(message)
