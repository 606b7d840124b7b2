"""launchd: a job of this user's, or of the whole machine, that a property list describes.

It has not run on a Mac yet; elsewhere tests/fakes/launchctl stands in for launchd.
"""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import ClassVar

from mlxctl.errors import CommandFailed
from mlxctl.service import launchctl, plist
from mlxctl.service.description import Mode, carried, describe
from mlxctl.service.launchctl import Job
from mlxctl.service.manager import Fault, Installer, Report, ServiceStatus
from mlxctl.service.plist import AQUA, BACKGROUND, Plist
from mlxctl.service.probe import wait
from mlxd.config import Config
from mlxd.control_api import Status
from mlxd.errors import ConfigError

AGENTS = Path("~/Library/LaunchAgents")
DAEMONS = Path("/Library/LaunchDaemons")

_LOAD_TRIES = 6
_PAUSE_SECONDS = 0.2
_LATE_SECONDS = 5.0  # launchd kills after ExitTimeOut, and then has to clean up


class LaunchdManager(Installer):
    """Drives the job `label`, whose plist is or will be in `folder`."""

    name = "launchd"
    to_install: ClassVar[str] = "mlxctl install"
    to_enable: ClassVar[str] = "mlxctl enable"

    def __init__(self, config: Config, label: str, folder: Path) -> None:
        super().__init__(config)
        self._label = label
        self._system = folder == DAEMONS
        self.file = folder.expanduser() / f"{label}.plist"

    def installed(self) -> bool:
        """Whether there is a plist, or a job of this login that was loaded from one."""
        return self.file.exists() or (not self._system and self._find()[1] is not None)

    def describe(self) -> ServiceStatus:
        """Describe the job."""
        domain, job = self._find()
        found = plist.read(self.file)
        disabled = launchctl.is_disabled(domain, self._label)
        return ServiceStatus(
            manager=self.name,
            label=self._target(domain),
            file=str(self.file),
            loaded=job is not None,
            pid=job.pid if job else None,
            keeps_sockets=job is not None and "Sockets" in (found or {}),
            starts="never: disabled" if disabled else self._starts(found),
            last_exit=self._last_exit(job),
            faults=list(self._faults(job, found, disabled=disabled)),
        )

    def restart(self, report: Report) -> Status:
        """End the process but not the job, so that clients that connect meanwhile only wait."""
        pid = self.pid()
        job = self._find()[1]
        if pid is not None and job is not None and job.pid == pid:
            self._demand_root("restart")
            self._terminate(pid, report)
        elif pid is not None:
            self.stop(report)  # a daemon that launchd did not start has taken the job's socket
        return self.start(report)

    def preview(self, mode: Mode) -> str:
        """Return the plist that `install` would write."""
        return plist.render(self._wanted(mode, AQUA)).decode()

    def install(self, mode: Mode, report: Report) -> bool:
        """Write the plist and load the job, unless that is so already."""
        self._demand_root("install --system")
        domain = "system" if self._system else _usable(_users_domains())
        wanted = self._wanted(mode, BACKGROUND if domain.startswith("user/") else AQUA)
        job = self._find()[1]
        disabled = launchctl.is_disabled(domain, self._label)
        if plist.read(self.file) == wanted and job is not None and not disabled:
            return False
        self._unload(report)
        self._replace_other(report)
        self._write(self.file, plist.render(wanted), wanted.get("UserName"))
        if disabled:
            launchctl.demand("enable", self._target(domain))
        self._load(domain)
        return True

    def uninstall(self, report: Report) -> None:
        """Unload the job and remove its plist."""
        self._demand_root("uninstall")
        self._unload(report)
        try:
            self.file.unlink(missing_ok=True)
        except OSError as error:
            raise CommandFailed(f"{self.file} cannot be removed: {error.strerror}") from error

    def enable(self) -> None:
        """Let launchd load the job at each login or boot again."""
        self._demand_root("enable")
        launchctl.demand("enable", self._target(self._find()[0]))

    def disable(self) -> None:
        """Keep launchd from loading the job; one that is loaded stays loaded."""
        self._demand_root("disable")
        launchctl.demand("disable", self._target(self._find()[0]))

    def _start(self) -> Status:
        """Load the job where it is not loaded, run it, and wait until the daemon answers."""
        self._demand_root("start")
        domain, job = self._find()
        if job is None:
            self._load(domain)
        target, ran = self._target(domain), False

        def failure() -> str:
            nonlocal ran
            job = launchctl.job(target) or Job()
            ended, ran = ran and job.pid is None, job.pid is not None
            return f"last exit: {job.last_exit or 'unknown'}. See: mlxctl logs" if ended else ""

        # Without -k, which would end a process that a connection has just started.
        launchctl.demand("kickstart", target, fine=(launchctl.ALREADY_IN_PROGRESS,))
        return self._wait_for_answer(failure)

    def _faults(self, job: Job | None, found: Plist | None, *, disabled: bool) -> Iterator[Fault]:
        if disabled:
            yield Fault("the service is disabled, so launchd does not start it", self.to_enable)
        if found is None and self.file.exists():
            yield Fault(f"{self.file} is not a property list", self.to_install)
        if job is None and (pid := self.pid()) is not None:
            yield Fault(f"mlxd (pid {pid}) was not started by {self.name}", "mlxctl restart")
        yield from self._own_faults(found)

    def _own_faults(self, found: Plist | None) -> Iterator[Fault]:
        """Yield what is wrong with a plist that mlxctl wrote."""
        if not self.file.exists():
            yield Fault(f"the service is loaded, but {self.file} is missing", self.to_install)
        try:
            if found is not None and not plist.is_current(found, self._label):
                yield Fault(f"{self.file} is out of date", self.to_install)
        except (ConfigError, CommandFailed) as error:
            yield Fault(f"{self.file}: {error.message}", self.to_install)

    def _starts(self, found: Plist | None) -> str:
        return "unknown" if found is None else plist.mode_of(found).value

    def _last_exit(self, job: Job | None) -> str | None:
        if job is None or job.last_exit is None:
            return None
        end = None if self.pid() else self._daemon.last_end()
        return f"{job.last_exit} ({end.message})" if end and end.message else job.last_exit

    def _wanted(self, mode: Mode, session: str) -> Plist:
        return plist.make(describe(mode, carried(os.environ)), self._label, session)

    def _find(self) -> tuple[str, Job | None]:
        """Return the domain that the job is loaded into, or is to be, and the job."""
        gui, user = _users_domains()
        session = (plist.read(self.file) or {}).get("LimitLoadToSessionType", AQUA)
        if self._system:
            domains = ["system"]
        elif isinstance(session, str):
            domains = [user if session == BACKGROUND else gui]
        else:
            domains = [gui, user]  # Homebrew's, which `brew` loads into either
        for domain in domains:
            if (job := launchctl.job(self._target(domain))) is not None:
                return domain, job
        return _usable(domains), None

    def _target(self, domain: str) -> str:
        return f"{domain}/{self._label}"

    def _demand_root(self, verb: str) -> None:
        if self._system and os.geteuid() != 0:
            variables = [f"{name}={quote(value)}" for name, value in carried(os.environ).items()]
            again = " ".join(["sudo", *variables, "mlxctl", verb])  # sudo forgets the others
            raise CommandFailed(f"managing a system-wide service requires root. Run: {again}")

    def _load(self, domain: str) -> None:
        """Load the job, even a disabled one, which is then disabled again for the next login."""
        target = self._target(domain)
        if disabled := launchctl.is_disabled(domain, self._label):
            launchctl.demand("enable", target)
        for tried in range(_LOAD_TRIES):  # launchd refuses for a moment after it was unloaded
            time.sleep(_PAUSE_SECONDS * tried)
            done = launchctl.run("bootstrap", domain, self.file)
            unclear = done.status == launchctl.INPUT_OUTPUT_ERROR
            loaded = done.status == 0 or (unclear and launchctl.job(target) is not None)
            if loaded or not (unclear or done.status == launchctl.ALREADY_IN_PROGRESS):
                break
        if disabled:
            launchctl.demand("disable", target)
        if not loaded:
            why = launchctl.refusal(done, "bootstrap", domain, self.file)
            advice = "See: mlxctl doctor" if unclear else f"Run: {self.to_install}"
            raise CommandFailed(f"{why}. {advice}")

    def _unload(self, report: Report) -> bool:
        """Unload the job and wait until it is gone: launchctl may return long before."""
        domain, job = self._find()
        if job is None:
            return False
        self._demand_root("stop")
        target = self._target(domain)
        fine = (
            *(launchctl.NO_SUCH_PROCESS, launchctl.NO_SUCH_SERVICE),
            *(launchctl.NOW_IN_PROGRESS, launchctl.ALREADY_IN_PROGRESS),
        )
        launchctl.demand("bootout", target, fine=fine)
        if wait(
            lambda: launchctl.job(target) is None,
            self._daemon.stop_limit + _LATE_SECONDS,
            lambda: report(f"waiting for launchd to unload {target}…"),
        ):
            return True
        raise CommandFailed(f"launchd does not unload {target}. See: launchctl print {target}")


def _users_domains() -> tuple[str, str]:
    return f"gui/{os.getuid()}", f"user/{os.getuid()}"


def _usable(domains: Sequence[str]) -> str:
    """Return the first domain that exists: over SSH, without a graphical login, gui does not."""
    *preferred, last = domains
    return next(filter(launchctl.has_domain, preferred), last)
