"""Homebrew's service on a Mac: a job like ours, which only `brew` installs and removes.

`brew services start` copies what the formula describes to where launchd looks at login, and
`brew services stop` removes that again; brew.py asks `brew` itself.
"""

from collections.abc import Iterator

from mlxctl.errors import CommandFailed
from mlxctl.service.launchd import LaunchdManager
from mlxctl.service.manager import Fault, Report
from mlxctl.service.plist import Plist

NAME = "Homebrew's service"
LABEL = "homebrew.mxcl.mlxd"


class HomebrewJob(LaunchdManager):
    """Drives the job of `brew services`."""

    name = NAME
    is_homebrews = True
    to_install = "brew services restart mlxd"
    to_enable = "brew services start mlxd"

    def uninstall(self, report: Report) -> None:  # noqa: ARG002
        """Refuse: `brew` does that."""
        raise _refusal("to remove it, run: brew services stop mlxd")

    def enable(self) -> None:
        """Refuse: `brew` does that."""
        raise _refusal(f"to enable it, run: {self.to_enable}")

    def disable(self) -> None:
        """Refuse: `brew` does that."""
        raise _refusal("to disable it, run: brew services stop mlxd")

    def _own_faults(self, found: Plist | None) -> Iterator[Fault]:  # noqa: ARG002
        if self._system:
            yield Fault("it runs as root, with a home of its own", "sudo brew services stop mlxd")

    def _starts(self, found: Plist | None) -> str:
        # `brew services run` loads it from the formula's own folder, until the next login.
        return super()._starts(found) if self.file.exists() else "until the next login"


def _refusal(instead: str) -> CommandFailed:
    return CommandFailed(f"{NAME} ({LABEL}) starts mlxd: {instead}")
