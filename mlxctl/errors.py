"""The errors that end a command of mlxctl, each with its exit status.

    CommandFailed          1   the message says why
    ├── RefusedByDaemon    1   the daemon answered with an error
    ├── NoAnswer           1   the daemon did not answer, not in time, or not completely
    ├── BenchmarkError     1   a measured request or server failed
    │   └── BenchmarkRefused   the server answered with an error
    └── NotRunning         3   the daemon is not running

Invalid usage is click's own error, with exit status 2.
"""

from typing import ClassVar

from mlxd.errors import MlxdError


class CommandFailed(MlxdError):
    """Base of all: `message` is for the user, `exit_status` for scripts."""

    exit_status: ClassVar[int] = 1


class RefusedByDaemon(CommandFailed):
    """The daemon answered with an error, which has this message."""


class NoAnswer(CommandFailed):
    """The daemon did not answer, not in time, or not completely."""


class BenchmarkError(CommandFailed):
    """A request or a server failed while it was measured: its figures would mean nothing."""


class BenchmarkRefused(BenchmarkError):
    """A measured request was answered with an error, whose HTTP status is `answered`."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.answered = status


class NotRunning(CommandFailed):
    """The daemon is not running."""

    exit_status = 3

    def __init__(self, message: str = "mlxd is not running; start it with: mlxctl start") -> None:
        super().__init__(message)
