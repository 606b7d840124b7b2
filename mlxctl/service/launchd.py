"""launchd: a job of this user's, or of the whole machine, described by a property list.

What only a Mac can prove is marked `on a Mac`; tests/fakes/launchctl plays launchd elsewhere.
"""

import os
from pathlib import Path
from shlex import quote

from mlxctl.errors import CommandFailed, NoAnswer, NotRunning
from mlxctl.service import homebrew, launchctl, plist
from mlxctl.service.conflicts import rivals
from mlxctl.service.description import Mode, carried, describe, program
from mlxctl.service.launchctl import Job, Launchctl
from mlxctl.service.loader import Found, Loader
from mlxctl.service.manager import Report, ServiceStatus
from mlxctl.service.plist import Plist
from mlxctl.service.plist_file import PlistFile
from mlxctl.service.probe import START_SECONDS, Probe, until
from mlxctl.service.process import ProcessManager
from mlxd import config, paths
from mlxd.config import Config
from mlxd.control_api import Status
from mlxd.errors import ConfigError

AGENTS = Path("~/Library/LaunchAgents")
DAEMONS = Path("/Library/LaunchDaemons")

_STARTS = 3
_LOOK_SECONDS = 0.2


class LaunchdManager:
    """Drives the job `label`, whose plist is or will be in `folder`; see `ServiceManager`."""

    name = "launchd"
    is_homebrews = False

    def __init__(self, settings: Config, control: Launchctl, label: str, folder: Path) -> None:
        self._config = settings
        self._control = control
        self._label = label
        self._file = PlistFile(folder.expanduser() / f"{label}.plist")
        self._daemon = Probe(settings)
        self._system = folder == DAEMONS
        self._loader = Loader(
            control, label, self._file, system=self._system, stop_seconds=self._daemon.stop_limit
        )

    def installed(self) -> bool:
        """Whether there is a plist, or a job that was loaded from one."""
        return self._file.exists() or self._loader.find().job is not None

    def pid(self) -> int | None:
        """Give the daemon's process id, None when none runs."""
        return self._daemon.pid()

    def keeps_sockets(self) -> bool:
        """Whether asking on the daemon's socket would start it."""
        listens = b"<key>Sockets</key>" in self._file.content()
        return listens and self._loader.find().job is not None

    def describe(self) -> ServiceStatus:
        """Give who is in charge, and what is wrong with that."""
        found = self._loader.find()
        job, on_disk = found.job, self._file.read()
        disabled = self._loader.is_disabled(found.target.rpartition("/")[0])
        return ServiceStatus(
            manager=self.name,
            label=found.target,
            file=str(self._file.path),
            loaded=job is not None,
            pid=job.pid if job else None,
            keeps_sockets=job is not None and "Sockets" in (on_disk or {}),
            starts="never: disabled" if disabled else self._starts(on_disk),
            last_exit=self._last_exit(job),
            faults=self._faults(job, on_disk, disabled=disabled),
        )

    def start(self, report: Report) -> Status:
        """Load the job where it is not, run it, and wait until the daemon answers."""
        pid = self.pid()
        if pid is not None:
            status = self._daemon.wait_for_other(pid)
            if status is not None and not status.stopping:
                return status
            self._wait_for_end(pid, report)
        self._demand_root("start")
        self._renew(report)
        for _ in range(_STARTS):
            if self._loader.find().job is None:
                if not self._file.exists():
                    raise CommandFailed(f"{self._file.path} is gone: mlxctl install")
                self._loader.load(self._allow, report)
            target, job = self._loader.demand()
            ended_before = (job.runs or 0) - (job.pid is not None)
            # Not -k, which would end one that has just been started by a connection.
            self._control.demand("kickstart", target, fine=(launchctl.ALREADY_IN_PROGRESS,))
            if (status := self._wait_for_answer(target, ended_before)) is not None:
                return status  # or else a stop had just begun to unload it
        raise CommandFailed(f"somebody else unloads {self._label}; see: mlxctl status")

    def restart(self, report: Report) -> Status:
        """End the process but not the job, so that who connects meanwhile waits in the kernel.

        Where another plist has to be loaded, the job does end.
        """
        found, pid = self._loader.find(), self.pid()
        ours = found.job is not None and pid is not None and found.job.pid == pid
        if pid is None or not ours or self._is_outdated(found):
            if pid is not None or found.job is not None:
                self.stop(report)
            return self.start(report)
        self._demand_root("restart")
        # SIGTERM lets requests finish, whatever `kickstart -k` would do, which is told nowhere.
        if not self._daemon.is_stopping():
            gone = (launchctl.NO_SUCH_PROCESS,)
            self._control.demand("kill", "SIGTERM", found.target, fine=gone)
        self._wait_for_end(pid, report)
        return self.start(report)

    def stop(self, report: Report) -> None:
        """Unload the job, which lets running requests finish; the plist stays where it is."""
        found, pid = self._loader.find(), self.pid()
        if found.job is None and pid is None:
            raise NotRunning("mlxd is not running")
        self._demand_root("stop")
        if pid is not None and (found.job is None or found.job.pid != pid):
            ProcessManager(self._config).stop(report)  # one that was started by hand
        if found.job is not None:
            self._loader.unload(found.target, report)

    def preview(self, mode: Mode) -> str:
        """Give the plist that `install` would write."""
        return plist.sealed(
            plist.render(self._wanted(mode, carried(os.environ), plist.AQUA))
        ).decode()

    def install(self, mode: Mode, report: Report) -> bool:
        """Write the plist and load the job; what is right already is left alone."""
        found = self._loader.find()
        wanted = self._wanted(mode, carried(os.environ), plist.session_of(found.domain))
        content = plist.sealed(plist.render(wanted))
        self._demand_root("install --system")
        enabled = not self._loader.is_disabled(found.domain)
        if (
            self._file.content() == content
            and enabled
            and found.job
            and self._loader.is_of(found.job)
        ):
            return False
        if found.job is not None:
            self._loader.unload(found.target, report)
        elif self.pid() is not None:
            report("mlxd runs already, and is stopped: from now on launchd starts it")
            ProcessManager(self._config).stop(report)
        self._write(content, wanted)
        if not enabled:
            self._loader.enable(found.domain)
        self._loader.load(self._allow, report)
        return True

    def uninstall(self, report: Report) -> bool:
        """Unload the job and remove its plist."""
        found = self._loader.find()
        if self._file.exists() or found.job:
            self._demand_root("uninstall")
        if found.job is not None:
            self._loader.unload(found.target, report)
        return self._file.remove() or found.job is not None

    def enable(self) -> None:
        """Have launchd load the job at each login or boot again."""
        self._demand_root("enable")
        self._loader.enable(self._loader.find().domain)

    def disable(self) -> None:
        """Have launchd load the job no more; one that is loaded stays."""
        self._demand_root("disable")
        self._loader.disable(self._loader.find().domain)

    # What is there

    def _wanted(
        self, mode: Mode, environment: dict[str, str], session: str, user: str | None = None
    ) -> Plist:
        try:
            settings = config.load(environ=environment)
        except ConfigError as error:
            raise ConfigError(f"{self._file.path}: {error.message}") from error
        if mode is Mode.SYSTEM:
            environment = {"HOME": os.path.expanduser("~"), **environment}
        return plist.make(describe(settings, mode, environment, user), self._label, session)

    def _today(self, found: Plist, session: str | None = None) -> Plist:
        """Give what `install` would make of the plist `found` today."""
        environment = dict(found.get("EnvironmentVariables", {}))
        session = session or found.get("LimitLoadToSessionType", plist.AQUA)
        return self._wanted(plist.mode_of(found), environment, session, found.get("UserName"))

    def _is_outdated(self, found: Found) -> bool:
        """Whether what is loaded is not what should be."""
        on_disk = self._file.read()
        if found.job is None or on_disk is None:
            return False
        return self._may_renew(on_disk, found.domain) or not (
            self._loader.is_of(found.job) and self._loader.holds(on_disk, found.job)
        )

    def _may_renew(self, on_disk: Plist, domain: str) -> bool:
        """Whether `mlxctl` may put another plist in the place of `on_disk`, and has one.

        What somebody has edited is theirs, and the service of another installation that is still
        there is not to be moved to this one.
        """
        if not self._file.is_untouched():
            return False
        runs = on_disk["ProgramArguments"][0]
        if runs != program()[0] and os.access(runs, os.X_OK):
            return False
        return on_disk != self._today(on_disk, self._session(domain))

    def _session(self, domain: str) -> str | None:
        return None if self._system else plist.session_of(domain)

    # What is wrong

    def _faults(self, job: Job | None, on_disk: Plist | None, *, disabled: bool) -> list[str]:
        faults = []
        file = self._file.path
        if disabled:
            faults.append("launchd is told never to start it: mlxctl enable")
        if not self._file.exists():
            faults.append(f"it is loaded, but {file} is gone: mlxctl install")
        elif on_disk is None:
            faults.append(f"{file} is no property list: mlxctl install")
        else:
            try:
                faults += self._drift(on_disk, job)
            except ConfigError as error:
                faults.append(f"{error.message}: mlxctl install")
        if job is not None and not self._loader.is_of(job):
            faults.append(f"it was loaded from {job.path}: mlxctl install")
        # That launchd lets it wait says that it ended soon; once may have been a kill.
        if job is not None and job.state == "spawn scheduled" and (job.runs or 0) > 1:
            faults.append(f"it has ended {job.runs} times, and soon: mlxctl logs")
        brewed = AGENTS.expanduser() / f"{homebrew.LABEL}.plist"
        if paths.home() is None and brewed.exists():  # it is of that home
            faults.append("Homebrew has a service of its own: brew services stop mlxd")
        folders = (AGENTS.expanduser(), Path("/Library/LaunchAgents"), DAEMONS)
        return [*faults, *rivals(file, self._config, folders), *self._strangers(job)]

    def _drift(self, on_disk: Plist, job: Job | None) -> list[str]:
        """Say how the plist is not what it should be; one line at most."""
        file = self._file.path
        if wrong := next(plist.complaints(on_disk), None):
            return [f"{file}: {wrong}: mlxctl install"]
        runs, ours = on_disk.get("ProgramArguments", [""])[0], program()[0]
        if not os.access(runs, os.X_OK):
            return [f"{file} starts {runs}, which is gone: mlxctl install"]
        if runs != ours:
            return [f"{file} starts {runs}, and this mlxctl belongs to {ours}: mlxctl install"]
        if on_disk != self._today(on_disk):
            if self._file.is_untouched():
                return [f"{file} is of an older mlxctl or configuration: mlxctl restart"]
            return [f"{file} is not what this mlxctl would write: mlxctl install"]
        if job is not None and self._loader.is_of(job) and not self._loader.holds(on_disk, job):
            return [f"launchd still holds what {file} said before: mlxctl restart"]
        return []

    def _strangers(self, job: Job | None) -> list[str]:
        pid = self.pid()
        if pid is None or (job is not None and job.pid == pid):
            return []
        return [f"pid {pid} was started by somebody else: mlxctl restart"]

    def _starts(self, on_disk: Plist | None) -> str:
        if self._system:
            return Mode.SYSTEM.value
        return "unknown" if on_disk is None else plist.mode_of(on_disk).value

    def _last_exit(self, job: Job | None) -> str | None:
        if job is None or job.last_exit is None:
            return None
        end = None if self.pid() else self._daemon.last_end()
        return f"{job.last_exit} ({end.message})" if end and end.message else job.last_exit

    # What is done

    def _demand_root(self, verb: str) -> None:
        if self._system and os.geteuid() != 0:
            variables = [f"{name}={quote(value)}" for name, value in carried(os.environ).items()]
            again = " ".join(["sudo", *variables, "mlxctl", verb])  # sudo forgets what is not named
            raise CommandFailed(f"services of the whole machine are root's: {again}")

    def _write(self, content: bytes, wanted: Plist) -> None:
        folders = (paths.log_dir(), self._daemon.socket_file.parent)
        self._file.write(content, folders, wanted.get("UserName"))

    def _renew(self, report: Report) -> None:
        """Write and have loaded what an upgrade or another configuration has changed."""
        found, on_disk = self._loader.find(), self._file.read()
        if on_disk is None:
            return
        if self._may_renew(on_disk, found.domain):
            wanted = self._today(on_disk, self._session(found.domain))
            self._write(plist.sealed(plist.render(wanted)), wanted)
            report(f"{self._file.path} was of an older mlxctl or configuration, and is renewed")
        elif found.job is None or not self._is_outdated(found):
            return
        if found.job is not None:
            self._loader.unload(found.target, report)

    def _allow(self, domain: str) -> None:
        """Have launchd load the job into `domain` when it is asked to."""
        self._loader.enable(domain)

    def _wait_for_end(self, pid: int, report: Report) -> None:
        if not self._daemon.wait_for_end(pid, self._daemon.stop_limit, report):
            raise CommandFailed(f"mlxd (pid {pid}) is still stopping; see: mlxctl status")

    def _wait_for_answer(self, target: str, ended_before: int) -> Status | None:
        """Give the status of the daemon once it answers, after `ended_before` runs of others.

        None where launchd has unloaded the job meanwhile.

        Raises:
            CommandFailed: it ends instead, or does not answer in time.
        """
        look = 0.0
        for now in until(START_SECONDS):
            # Asked only while it runs: a socket that launchd keeps would take the question.
            if (pid := self.pid()) and (status := self._daemon.answer_of(pid)):
                return status
            if said := self._daemon.start_failure():  # launchd may have started another by now
                raise CommandFailed(f"mlxd did not start: {said}")
            if now < look:
                continue
            look = now + _LOOK_SECONDS
            if (job := self._control.job(target)) is None:
                return None
            if job.pid is None and job.last_exit is not None and (job.runs or 0) > ended_before:
                raise CommandFailed(
                    f"mlxd did not start (exit status {job.last_exit}); see: mlxctl logs"
                )
        raise NoAnswer(
            f"mlxd did not answer on {self._daemon.socket_file} within {START_SECONDS:g} s; "
            f"see: mlxctl logs, launchctl print {target}"
        )
