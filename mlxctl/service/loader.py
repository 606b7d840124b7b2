"""Loading one job into launchd and out of it again, with the patience that launchd asks for."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from mlxctl.errors import CommandFailed
from mlxctl.service import launchctl
from mlxctl.service.launchctl import Job, Launchctl
from mlxctl.service.manager import Report
from mlxctl.service.plist import Plist
from mlxctl.service.plist_file import PlistFile
from mlxctl.service.probe import until

_TRIES = 6
_PAUSE_SECONDS = 0.2
_LOOK_SECONDS = 0.2
_QUIET_SECONDS = 2.0
_LATE_SECONDS = 5.0  # launchd kills after ExitTimeOut, and has to tidy up then


class Found(msgspec.Struct, frozen=True):
    """The job, where it is loaded, and the domain it would be loaded into now."""

    target: str
    job: Job | None
    domain: str


class Loader:
    """Loads the job `label` from `file`, into the whole machine's domain where it is `system`'s.

    `stop_seconds` says how long the daemon may take to stop.
    """

    def __init__(
        self, control: Launchctl, label: str, file: PlistFile, *, system: bool, stop_seconds: float
    ) -> None:
        self._control = control
        self._label = label
        self._file = file
        self._system = system
        self._limit = stop_seconds + _LATE_SECONDS

    def target(self, domain: str) -> str:
        """Give what launchctl calls the job in `domain`."""
        return f"{domain}/{self._label}"

    def find(self) -> Found:
        """Look where the job is."""
        # Over SSH, without a login at the screen, there is no gui domain: on a Mac.
        existing = []
        for domain in self._domains():
            status, job = self._control.look(self.target(domain))
            if status not in launchctl.NO_DOMAIN:
                existing.append(domain)
            if job is not None:
                return Found(self.target(domain), job, existing[0])
        first = (existing or self._domains())[0]
        return Found(self.target(first), None, first)

    def demand(self) -> tuple[str, Job]:
        """Give what launchctl calls the job, and the job.

        Raises:
            CommandFailed: it is not loaded.
        """
        found = self.find()
        if found.job is None:
            raise CommandFailed(f"launchd has lost {self._label}: mlxctl install")
        return found.target, found.job

    def is_of(self, job: Job) -> bool:
        """Whether `job` was loaded from this file, as far as launchd tells."""
        return job.path is None or Path(job.path) == self._file.path

    def holds(self, plist: Plist, job: Job) -> bool:
        """Whether launchd runs the program of `plist` as `job`, as far as it tells."""
        return job.arguments is None or list(job.arguments) == plist.get("ProgramArguments")

    def is_disabled(self, domain: str) -> bool:
        """Whether launchd is told not to load it into `domain`."""
        return self._label in self._control.disabled(domain)

    def enable(self, domain: str) -> None:
        """Have launchd load it into `domain` at each login or boot, and when it is asked to."""
        self._control.demand("enable", self.target(domain))

    def disable(self, domain: str) -> None:
        """Have launchd load it no more; what is loaded stays."""
        self._control.demand("disable", self.target(domain))

    def load(self, allow: Callable[[str], None], report: Report) -> None:
        """Bootstrap, with the patience that launchd asks for.

        What is disabled is loaded all the same, after `allow` has enabled it, and is disabled
        again for the next login.

        Raises:
            CommandFailed: launchd refuses for good.
        """
        first = self.find().domain
        others = [domain for domain in self._domains() if domain != first]
        disabled = self.is_disabled(first)
        if disabled:
            allow(first)
        try:
            self._bootstrap(first, others, allow, report)
        finally:
            if disabled:
                self.disable(first)

    def _bootstrap(
        self, domain: str, others: list[str], allow: Callable[[str], None], report: Report
    ) -> None:
        for tried in range(_TRIES):
            done = self._control.run("bootstrap", domain, self._file.path)
            if done.status == 0:
                return
            if done.status in launchctl.NOT_HERE and others:
                domain = others.pop(0)
                allow(domain)
            elif done.status == launchctl.SERVICE_DISABLED:
                allow(domain)
            elif done.status in (launchctl.INPUT_OUTPUT_ERROR, launchctl.ALREADY_IN_PROGRESS):
                found, on_disk = self.find(), self._file.read()
                if found.job is not None and on_disk is not None:
                    if self.is_of(found.job) and self.holds(on_disk, found.job):
                        return  # somebody else was quicker
                    self.unload(found.target, report)
                if tried:
                    allow(domain)  # it may be disabled without telling
                time.sleep(_PAUSE_SECONDS * tried)
            else:
                break
        mend = "mlxctl install" if done.status == launchctl.BAD_OWNERSHIP else "see: mlxctl doctor"
        raise CommandFailed(
            f"launchctl bootstrap {domain} {self._file.path} failed ({done.status}): "
            f"{done.complaint}; {mend}"
        )

    def unload(self, target: str, report: Report) -> None:
        """Bootout, and wait until the job is gone: launchctl may be done long before.

        Raises:
            CommandFailed: it stays.
        """
        fine = (*launchctl.GONE, launchctl.NOW_IN_PROGRESS, launchctl.ALREADY_IN_PROGRESS)
        self._control.demand("bootout", target, fine=fine)
        told = time.monotonic() + _QUIET_SECONDS
        for now in until(self._limit):
            if self._control.job(target) is None:
                return
            if now >= told:
                told = now + _QUIET_SECONDS
                report(f"waiting for launchd to unload {target}…")
            time.sleep(_LOOK_SECONDS)
        raise CommandFailed(f"launchd does not unload {target}; see: launchctl print {target}")

    def _domains(self) -> list[str]:
        return ["system"] if self._system else [f"gui/{os.getuid()}", f"user/{os.getuid()}"]
