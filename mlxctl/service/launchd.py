"""launchd: a job of this user's, or of the whole machine, that a property list describes.

It has not run on a Mac yet; elsewhere tests/fakes/launchctl stands in for launchd.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from mlxctl.errors import CommandFailed, NoAnswer, NotRunning
from mlxctl.service import launchctl, plist
from mlxctl.service.description import Mode, carried
from mlxctl.service.launchctl import Job, Launchctl
from mlxctl.service.manager import Fault, Report, ServiceStatus
from mlxctl.service.plist import AQUA, BACKGROUND, Plist
from mlxctl.service.probe import START_SECONDS, Probe, until
from mlxctl.service.process import ProcessManager
from mlxd import paths
from mlxd.config import Config
from mlxd.control_api import Status
from mlxd.errors import ConfigError

AGENTS = Path("~/Library/LaunchAgents")
DAEMONS = Path("/Library/LaunchDaemons")

_LOAD_TRIES = 6
_PAUSE_SECONDS = 0.2
_QUIET_SECONDS = 2.0
_LATE_SECONDS = 5.0  # launchd kills after ExitTimeOut, and then has to clean up


class LaunchdManager:
    """Drives the job `label`, whose plist is or will be in `folder`; see `ServiceManager`."""

    name = "launchd"
    is_homebrews = False

    def __init__(self, config: Config, control: Launchctl, label: str, folder: Path) -> None:
        self._config = config
        self._control = control
        self._label = label
        self._file = folder.expanduser() / f"{label}.plist"
        self._daemon = Probe(config)
        self._system = folder == DAEMONS

    def installed(self) -> bool:
        """Whether there is a plist, or a job of this login that was loaded from one."""
        return self._file.exists() or (not self._system and self._find()[1] is not None)

    def pid(self) -> int | None:
        """Return the daemon's process id, None when none runs."""
        return self._daemon.pid()

    def keeps_sockets(self) -> bool:
        """Whether a connection to the daemon's socket would start it."""
        return "Sockets" in (plist.read(self._file) or {}) and self._find()[1] is not None

    def describe(self) -> ServiceStatus:
        """Return who is in charge, and what is wrong with that."""
        domain, job = self._find()
        found = plist.read(self._file)
        disabled = self._control.is_disabled(domain, self._label)
        return ServiceStatus(
            manager=self.name,
            label=self._target(domain),
            file=str(self._file),
            loaded=job is not None,
            pid=job.pid if job else None,
            keeps_sockets=job is not None and "Sockets" in (found or {}),
            starts="never: disabled" if disabled else self._starts(found),
            last_exit=self._last_exit(job),
            faults=list(self._faults(job, found, disabled=disabled)),
        )

    def start(self, report: Report) -> Status:
        """Load the job where it is not loaded, run it, and wait until the daemon answers."""
        pid = self.pid()
        if pid is not None:
            status = self._daemon.wait_for_other(pid)
            if status is not None and not status.stopping:
                return status
            self._wait_for_end(pid, report)
        self._demand_root("start")
        domain, job = self._find()
        if job is None:
            self._load(domain)
        # Without -k, which would end a process that a connection has just started.
        fine = (launchctl.ALREADY_IN_PROGRESS,)
        self._control.demand("kickstart", self._target(domain), fine=fine)
        return self._wait_for_answer(self._target(domain))

    def restart(self, report: Report) -> Status:
        """End the process but not the job, so that clients that connect meanwhile only wait."""
        domain, job = self._find()
        pid = self.pid()
        if pid is not None and (job is None or job.pid != pid):
            self.stop(report)  # a daemon that launchd did not start
        elif pid is not None:
            self._demand_root("restart")
            # SIGTERM lets requests finish; what `kickstart -k` does is documented nowhere.
            if not self._daemon.is_stopping():
                gone = (launchctl.NO_SUCH_PROCESS,)
                self._control.demand("kill", "SIGTERM", self._target(domain), fine=gone)
            self._wait_for_end(pid, report)
        return self.start(report)

    def stop(self, report: Report) -> None:
        """Unload the job, which lets running requests finish; the plist stays where it is."""
        domain, job = self._find()
        pid = self.pid()
        if job is None and pid is None:
            raise NotRunning("mlxd is not running")
        self._demand_root("stop")
        if pid is not None and (job is None or job.pid != pid):
            ProcessManager(self._config).stop(report)  # a daemon that launchd did not start
        if job is not None:
            self._unload(domain, report)

    def preview(self, mode: Mode) -> str:
        """Return the plist that `install` would write."""
        return plist.render(self._wanted(mode, AQUA)).decode()

    def install(self, mode: Mode, report: Report) -> bool:
        """Write the plist and load the job, unless that is so already."""
        self._demand_root("install --system")
        domain, session = self._domain_to_install()
        wanted = self._wanted(mode, session)
        loaded_in, job = self._find()
        disabled = self._control.is_disabled(domain, self._label)
        if plist.read(self._file) == wanted and job is not None and not disabled:
            return False
        if job is not None:
            self._unload(loaded_in, report)
        elif self.pid() is not None:
            report("stopping mlxd, which runs already: from now on launchd starts it")
            ProcessManager(self._config).stop(report)
        folders = (paths.log_dir(), self._daemon.socket_file.parent)
        plist.write(self._file, plist.render(wanted), folders, wanted.get("UserName"))
        if disabled:
            self._control.demand("enable", self._target(domain))
        self._load(domain)
        return True

    def uninstall(self, report: Report) -> bool:
        """Unload the job and remove its plist."""
        domain, job = self._find()
        if job is None and not self._file.exists():
            return False
        self._demand_root("uninstall")
        if job is not None:
            self._unload(domain, report)
        try:
            self._file.unlink(missing_ok=True)
        except OSError as error:
            raise CommandFailed(f"{self._file} cannot be removed: {error.strerror}") from error
        return True

    def enable(self) -> None:
        """Let launchd load the job at each login or boot again."""
        self._demand_root("enable")
        self._control.demand("enable", self._target(self._find()[0]))

    def disable(self) -> None:
        """Keep launchd from loading the job; one that is loaded stays loaded."""
        self._demand_root("disable")
        self._control.demand("disable", self._target(self._find()[0]))

    def _faults(self, job: Job | None, found: Plist | None, *, disabled: bool) -> Iterator[Fault]:
        if disabled:
            yield Fault("the service is disabled, so launchd does not start it", "mlxctl enable")
        if not self._file.exists():
            yield Fault(f"the service is loaded, but {self._file} is missing", "mlxctl install")
        elif found is None:
            yield Fault(f"{self._file} is not a property list", "mlxctl install")
        else:
            try:
                if not plist.is_current(found, self._label):
                    yield Fault(f"{self._file} is out of date", "mlxctl install")
            except (ConfigError, CommandFailed) as error:
                yield Fault(f"{self._file}: {error.message}", "mlxctl install")
        yield from self._started_by_hand(job)

    def _started_by_hand(self, job: Job | None) -> Iterator[Fault]:
        if job is None and (pid := self.pid()) is not None:
            yield Fault(f"mlxd (pid {pid}) was not started by {self.name}", "mlxctl restart")

    def _starts(self, found: Plist | None) -> str:
        if self._system:
            return Mode.SYSTEM.value
        return "unknown" if found is None else plist.mode_of(found).value

    def _last_exit(self, job: Job | None) -> str | None:
        if job is None or job.last_exit is None:
            return None
        end = None if self.pid() else self._daemon.last_end()
        return f"{job.last_exit} ({end.message})" if end and end.message else job.last_exit

    def _wanted(self, mode: Mode, session: str) -> Plist:
        return plist.wanted(self._label, mode, carried(os.environ), session)

    def _domain_to_install(self) -> tuple[str, str]:
        """Return the domain to load the job into, and the session that belongs to it."""
        if self._system:
            return "system", AQUA
        gui, user = _domains()
        # Over SSH, without a login at the screen, there is no gui domain.
        return (gui, AQUA) if self._control.has_domain(gui) else (user, BACKGROUND)

    def _find(self) -> tuple[str, Job | None]:
        """Return the domain that the job is loaded into, or is to be, and the job."""
        gui, user = _domains()
        session = (plist.read(self._file) or {}).get("LimitLoadToSessionType", AQUA)
        if self._system:
            domains = ["system"]
        elif isinstance(session, str):
            domains = [user if session == BACKGROUND else gui]
        else:
            domains = [gui, user]
        existing = []
        for domain in domains:
            status, job = self._control.look(self._target(domain))
            if job is not None:
                return domain, job
            if status not in launchctl.NO_DOMAIN:
                existing.append(domain)
        return (existing or domains)[0], None

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
        if disabled := self._control.is_disabled(domain, self._label):
            self._control.demand("enable", target)
        for tried in range(_LOAD_TRIES):  # launchd refuses for a moment after it was unloaded
            time.sleep(_PAUSE_SECONDS * tried)
            done = self._control.run("bootstrap", domain, self._file)
            unclear = done.status == launchctl.INPUT_OUTPUT_ERROR
            loaded = done.status == 0 or (unclear and self._control.job(target) is not None)
            if loaded or not (unclear or done.status == launchctl.ALREADY_IN_PROGRESS):
                break
        if disabled:
            self._control.demand("disable", target)
        if not loaded:
            why = launchctl.refusal(done, "bootstrap", domain, self._file)
            advice = "See: mlxctl doctor" if unclear else "Run: mlxctl install"
            raise CommandFailed(f"{why}. {advice}")

    def _unload(self, domain: str, report: Report) -> None:
        """Unload the job and wait until it is gone: launchctl may return long before.

        Raises:
            CommandFailed: it stays.
        """
        target = self._target(domain)
        fine = (*launchctl.GONE, launchctl.NOW_IN_PROGRESS, launchctl.ALREADY_IN_PROGRESS)
        self._control.demand("bootout", target, fine=fine)
        told = time.monotonic() + _QUIET_SECONDS
        for now in until(self._daemon.stop_limit + _LATE_SECONDS):
            if self._control.job(target) is None:
                return
            if now >= told:
                told = now + _QUIET_SECONDS
                report(f"waiting for launchd to unload {target}…")
        raise CommandFailed(f"launchd does not unload {target}. See: launchctl print {target}")

    def _wait_for_end(self, pid: int, report: Report) -> None:
        if not self._daemon.wait_for_end(pid, self._daemon.stop_limit, report):
            raise CommandFailed(f"mlxd (pid {pid}) is still stopping. See: mlxctl status")

    def _wait_for_answer(self, target: str) -> Status:
        """Return the status of the daemon that was started, once it answers.

        Raises:
            CommandFailed: it ends instead, or does not answer in time.
        """
        ran = False
        for _ in until(START_SECONDS):
            # Asked only while it runs: a connection to launchd's socket would start another one.
            if (pid := self.pid()) and (status := self._daemon.answer_of(pid)):
                return status
            if (job := self._control.job(target)) is None:
                raise CommandFailed(f"{target} was unloaded while it started. Run: mlxctl start")
            said = self._daemon.start_failure()  # of one that launchd may have replaced by now
            if said or (job.pid is None and ran):
                why = said or f"last exit: {job.last_exit or 'unknown'}. See: mlxctl logs"
                raise CommandFailed(f"mlxd did not start: {why}")
            ran = job.pid is not None
        raise NoAnswer(
            f"mlxd did not answer on {self._daemon.socket_file} within {START_SECONDS:g} s. "
            f"See: mlxctl logs, launchctl print {target}"
        )


def _domains() -> tuple[str, str]:
    return f"gui/{os.getuid()}", f"user/{os.getuid()}"
