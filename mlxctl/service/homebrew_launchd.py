"""Homebrew's service on a Mac: a job like ours, but for what mends it."""

from mlxctl.errors import CommandFailed
from mlxctl.service import homebrew
from mlxctl.service.launchctl import Job
from mlxctl.service.launchd import LaunchdManager
from mlxctl.service.loader import Found
from mlxctl.service.plist import Plist


class HomebrewJob(LaunchdManager):
    """Drives the job of `brew services`; it is installed and taken out by `brew` alone."""

    name = homebrew.NAME
    is_homebrews = True

    def _faults(self, job: Job | None, on_disk: Plist | None, *, disabled: bool) -> list[str]:
        faults = []
        if self._system:
            faults.append("it is root's, with a home of its own: sudo brew services stop mlxd")
        if disabled:
            faults.append("launchd is told never to start it: brew services start mlxd")
        if self._file.exists() and on_disk is None:
            faults.append(f"{self._file.path} is no property list: brew services restart mlxd")
        # `brew services run` loads it from the formula's own folder, until the next login.
        if job is not None and self._file.exists() and not self._loader.is_of(job):
            faults.append(f"it was loaded from {job.path}: brew services restart mlxd")
        return [*faults, *self._strangers(job)]

    def _is_outdated(self, found: Found) -> bool:  # noqa: ARG002
        return False  # `brew services` sees to that

    def _starts(self, on_disk: Plist | None) -> str:
        return super()._starts(on_disk) if self._file.exists() else "until the next login"

    def _allow(self, domain: str) -> None:
        if self._loader.is_disabled(domain):
            raise CommandFailed(
                f"launchd is told never to start {homebrew.NAME}: brew services start mlxd"
            )
