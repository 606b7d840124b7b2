"""Homebrew's service on a Mac: a job like ours, which only `brew` installs and removes.

`brew services start` copies what the formula describes to where launchd looks at login, and
`brew services stop` removes that again; brew.py asks `brew` itself.
"""

from collections.abc import Iterator

from mlxctl.errors import CommandFailed
from mlxctl.service.launchctl import Job
from mlxctl.service.launchd import LaunchdManager
from mlxctl.service.manager import Fault
from mlxctl.service.plist import Plist

NAME = "Homebrew's service"
LABEL = "homebrew.mxcl.mlxd"


def refusal(label: str, instead: str) -> CommandFailed:
    """Return why `mlxctl` leaves the service `label` alone, and what to do `instead`."""
    return CommandFailed(f"{NAME} ({label}) starts mlxd: {instead}")


class HomebrewJob(LaunchdManager):
    """Drives the job of `brew services`."""

    name = NAME
    is_homebrews = True

    def _faults(self, job: Job | None, found: Plist | None, *, disabled: bool) -> Iterator[Fault]:
        if self._system:
            yield Fault("it runs as root, with a home of its own", "sudo brew services stop mlxd")
        if disabled:
            yield Fault(
                "the service is disabled, so launchd does not start it", "brew services start mlxd"
            )
        if self._file.exists() and found is None:
            yield Fault(f"{self._file} is not a property list", "brew services restart mlxd")
        yield from self._started_by_hand(job)

    def _starts(self, found: Plist | None) -> str:
        # `brew services run` loads it from the formula's own folder, until the next login.
        return super()._starts(found) if self._file.exists() else "until the next login"

    def _load(self, domain: str) -> None:
        if self._control.is_disabled(domain, self._label):
            raise CommandFailed(f"{NAME} is disabled. Run: brew services start mlxd")
        super()._load(domain)
