"""launchd: a job of this user's, or of the whole machine, described by a property list.

What only a Mac can prove is marked `on a Mac`; tests/fakes/launchctl plays launchd elsewhere.
"""

import os
import shutil
import time
from pathlib import Path

from mlxctl.errors import CommandFailed, NoAnswer, NotRunning
from mlxctl.service import homebrew, launchctl, plist
from mlxctl.service.description import Mode, carried, describe
from mlxctl.service.launchctl import Job, Launchctl
from mlxctl.service.manager import Report, ServiceStatus
from mlxctl.service.observation import START_SECONDS, Observation, last_words, until
from mlxctl.service.plist import Plist
from mlxctl.service.process import ProcessManager
from mlxd import config, paths
from mlxd.api.control import Status
from mlxd.config import Config

AGENTS = Path("~/Library/LaunchAgents")
DAEMONS = Path("/Library/LaunchDaemons")

_TRIES = 6
_PAUSE_SECONDS = 0.2
_LOOK_SECONDS = 0.2
_QUIET_SECONDS = 2.0


class LaunchdManager:
    """Drives the job `label`, whose plist is or will be in `folder`; see `ServiceManager`."""

    name = "launchd"
    is_homebrews = False

    def __init__(self, settings: Config, control: Launchctl, label: str, folder: Path) -> None:
        self._config = settings
        self._control = control
        self._label = label
        self._file = folder.expanduser() / f"{label}.plist"
        self._daemon = Observation(settings)
        self._system = folder == DAEMONS

    def installed(self) -> bool:
        """Whether there is a plist, or a job that was loaded from one."""
        return self._file.exists() or self._loaded() is not None

    def pid(self) -> int | None:
        """Give the daemon's process id, None when none runs."""
        return self._daemon.pid()

    def keeps_sockets(self) -> bool:
        """Whether asking on the daemon's socket would start it."""
        try:
            listens = b"<key>Sockets</key>" in self._file.read_bytes()
        except OSError:
            listens = False
        return listens and self._loaded() is not None

    def describe(self) -> ServiceStatus:
        """Give who is in charge, and what is wrong with that."""
        found = self._loaded()
        target, job = found if found else (self._target(self._domains()[0]), None)
        domain = target.rpartition("/")[0]
        on_disk = self._read()
        disabled = self._label in self._control.disabled(domain)
        return ServiceStatus(
            manager=self.name,
            label=target,
            file=str(self._file),
            loaded=job is not None,
            pid=job.pid if job else None,
            keeps_sockets=job is not None and "Sockets" in (on_disk or {}),
            starts="never: disabled" if disabled else self._starts(on_disk),
            last_exit=self._last_exit(job, on_disk),
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
        if self._loaded() is None:
            if not self._file.exists():
                raise CommandFailed(f"{self._file} is gone: mlxctl install")
            self._load(report)
        target, job = self._demand_loaded()
        ended_before = (job.runs or 0) - (job.pid is not None)
        # Not -k, which would end one that has just been started by a connection.
        self._control.demand("kickstart", target, fine=(launchctl.ALREADY_IN_PROGRESS,))
        return self._wait_for_answer(target, ended_before)

    def restart(self, report: Report) -> Status:
        """End the process but not the job, so that who connects meanwhile waits in the kernel."""
        found, pid = self._loaded(), self.pid()
        if found is None or pid is None or found[1].pid != pid:
            if pid is not None:
                self.stop(report)
            return self.start(report)
        self._demand_root("restart")
        target, _ = found
        # SIGTERM lets requests finish, whatever `kickstart -k` would do, which is told nowhere.
        if not self._daemon.is_stopping():
            self._control.demand("kill", "SIGTERM", target, fine=(launchctl.NO_SUCH_PROCESS,))
        self._wait_for_end(pid, report)
        return self.start(report)

    def stop(self, report: Report) -> None:
        """Unload the job, which lets running requests finish; the plist stays where it is."""
        found, pid = self._loaded(), self.pid()
        if found is None and pid is None:
            raise NotRunning("mlxd is not running")
        self._demand_root("stop")
        if pid is not None and (found is None or found[1].pid != pid):
            ProcessManager(self._config).stop(report)  # one that was started by hand
        if found is not None:
            self._unload(found[0], report)

    def preview(self, mode: Mode) -> str:
        """Give the plist that `install` would write."""
        return plist.render(self._wanted(mode, carried(os.environ), "Aqua")).decode()

    def install(self, mode: Mode, report: Report) -> bool:
        """Write the plist and load the job; what is right already is left alone."""
        domain = self._domains(mode)[0]
        session = "Background" if domain.startswith("user/") else "Aqua"
        wanted = self._wanted(mode, carried(os.environ), session)
        content = plist.render(wanted)
        self._demand_root("install --system")
        found = self._loaded()
        same = self._file.exists() and self._file.read_bytes() == content
        enabled = self._label not in self._control.disabled(domain)
        if same and enabled and found and self._is_of(found[1]):
            return False
        if found is not None:
            self._unload(found[0], report)
        elif self.pid() is not None:
            report("mlxd runs already, and is stopped: from now on launchd starts it")
            ProcessManager(self._config).stop(report)
        self._write(content, wanted.get("UserName"))
        self._load(report)
        return True

    def uninstall(self, report: Report) -> bool:
        """Unload the job and remove its plist."""
        found = self._loaded()
        if self._file.exists() or found:
            self._demand_root("uninstall")
        if found is not None:
            self._unload(found[0], report)
        was_there = self._file.exists()
        self._file.unlink(missing_ok=True)
        return was_there or found is not None

    def enable(self) -> None:
        """Have launchd load the job at each login or boot again."""
        self._demand_root("enable")
        self._control.demand("enable", self._target(self._domains()[0]))

    def disable(self) -> None:
        """Have launchd load the job no more; one that is loaded stays."""
        self._demand_root("disable")
        self._control.demand("disable", self._target(self._domains()[0]))

    # What is there

    def _domains(self, mode: Mode | None = None) -> list[str]:
        """Give the domains the job may be in, the one to load it into first."""
        if self._system or mode is Mode.SYSTEM:
            return ["system"]
        gui, background = f"gui/{os.getuid()}", f"user/{os.getuid()}"
        # Over SSH, without a login at the screen, there is no gui domain: on a Mac.
        return [gui, background] if self._control.has_domain(gui) else [background, gui]

    def _target(self, domain: str) -> str:
        return f"{domain}/{self._label}"

    def _loaded(self) -> tuple[str, Job] | None:
        """Give the loaded job and where it is; None when there is none."""
        domains = ["system"] if self._system else [f"gui/{os.getuid()}", f"user/{os.getuid()}"]
        for domain in domains:
            if (job := self._control.job(self._target(domain))) is not None:
                return self._target(domain), job
        return None

    def _demand_loaded(self) -> tuple[str, Job]:
        if (found := self._loaded()) is None:
            raise CommandFailed(f"launchd has lost {self._label}: mlxctl install")
        return found

    def _is_of(self, job: Job) -> bool:
        return job.path is None or Path(job.path) == self._file

    def _read(self) -> Plist | None:
        """Give the plist on the disk; None where there is none, or nothing that is one."""
        import plistlib  # only where there is something to compare

        try:
            found = plistlib.loads(self._file.read_bytes())
        except (OSError, ValueError, plistlib.InvalidFileException):
            return None
        return found if isinstance(found, dict) else None

    def _wanted(
        self, mode: Mode, environment: dict[str, str], session: str, user: str | None = None
    ) -> Plist:
        settings = config.load(environ=environment)
        if mode is Mode.SYSTEM:
            environment = {"HOME": os.path.expanduser("~"), **environment}
        return plist.make(describe(settings, mode, environment, user), self._label, session)

    def _is_stale(self, found: Plist) -> bool:
        """Whether `found` is not what `install` would make of it today."""
        environment = dict(found.get("EnvironmentVariables", {}))
        session = found.get("LimitLoadToSessionType", "Aqua")
        mode, user = plist.mode_of(found), found.get("UserName")
        return found != self._wanted(mode, environment, session, user)

    def _faults(self, job: Job | None, on_disk: Plist | None, *, disabled: bool) -> list[str]:
        faults = []
        if disabled:
            faults.append("launchd is told never to start it: mlxctl enable")
        if not self._file.exists():
            faults.append(f"it is loaded, but {self._file} is gone: mlxctl install")
        elif on_disk is None:
            faults.append(f"{self._file} is no property list: mlxctl install")
        elif self._is_stale(on_disk):
            faults.append(f"{self._file} is not what this mlxctl would write: mlxctl install")
        if job is not None and not self._is_of(job):
            faults.append(f"it was loaded from {job.path}: mlxctl install")
        brewed = AGENTS.expanduser() / f"{homebrew.LABEL}.plist"
        if paths.home() is None and brewed.exists():  # it is of that home
            faults.append("Homebrew has a service of its own: brew services stop mlxd")
        return [*faults, *self._strangers(job)]

    def _strangers(self, job: Job | None) -> list[str]:
        pid = self.pid()
        if job is None or pid is None or job.pid == pid:
            return []
        return [f"pid {pid} was started by somebody else: mlxctl restart"]

    def _starts(self, on_disk: Plist | None) -> str:
        if self._system:
            return Mode.SYSTEM.value
        return "unknown" if on_disk is None else plist.mode_of(on_disk).value

    def _last_exit(self, job: Job | None, on_disk: Plist | None) -> str | None:
        if job is None or job.last_exit is None:
            return None
        said = "" if self.pid() else last_words(_stderr_of(on_disk))
        return f"{job.last_exit} ({said})" if said else job.last_exit

    # What is done

    def _demand_root(self, verb: str) -> None:
        if self._system and os.geteuid() != 0:
            raise CommandFailed(f"services of the whole machine are root's: sudo mlxctl {verb}")

    def _write(self, content: bytes, user: str | None) -> None:
        """Replace the plist in one step, and make the folders that launchd does not make.

        `user` is who the daemon runs as, where that is somebody else.
        """
        fresh = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            for needed in (paths.log_dir(), self._daemon.socket_file.parent):
                _make_folder(needed, user)
            fresh.write_bytes(content)
            fresh.chmod(0o644)  # launchd refuses one that others may write
            fresh.replace(self._file)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise CommandFailed(f"{self._file} cannot be written: {error.strerror}") from error

    def _load(self, report: Report) -> None:
        """Bootstrap, with the patience that launchd asks for.

        Raises:
            CommandFailed: launchd refuses for good.
        """
        domain, *others = self._domains()
        self._allow(domain)
        for tried in range(_TRIES):
            done = self._control.run("bootstrap", domain, self._file)
            if done.status == 0:
                return
            if done.status == launchctl.NOT_IN_THIS_DOMAIN and others:
                domain = others.pop(0)
                self._allow(domain)
            elif done.status == launchctl.SERVICE_DISABLED:
                self._allow(domain)
            elif done.status in (launchctl.INPUT_OUTPUT_ERROR, launchctl.ALREADY_IN_PROGRESS):
                if (found := self._loaded()) is not None:
                    self._unload(found[0], report)
                time.sleep(_PAUSE_SECONDS * tried)
            else:
                break
        raise CommandFailed(
            f"launchctl bootstrap {domain} {self._file} failed ({done.status}): {done.complaint}; "
            "see: mlxctl doctor"
        )

    def _allow(self, domain: str) -> None:
        """Have launchd load the job into `domain` when it is asked to."""
        self._control.demand("enable", self._target(domain))

    def _unload(self, target: str, report: Report) -> None:
        """Bootout, and wait until the job is gone: launchctl may be done long before.

        Raises:
            CommandFailed: it stays.
        """
        gone = (launchctl.NO_SUCH_PROCESS, launchctl.NO_SUCH_SERVICE)
        self._control.demand(
            "bootout",
            target,
            fine=(*gone, launchctl.NOW_IN_PROGRESS, launchctl.ALREADY_IN_PROGRESS),
        )
        told = time.monotonic() + _QUIET_SECONDS
        for now in until(self._daemon.stop_limit):
            if self._control.job(target) is None:
                return
            if now >= told:
                told = now + _QUIET_SECONDS
                report(f"waiting for launchd to unload {target}…")
            time.sleep(_LOOK_SECONDS)
        raise CommandFailed(f"launchd does not unload {target}; see: launchctl print {target}")

    def _wait_for_end(self, pid: int, report: Report) -> None:
        if not self._daemon.wait_for_end(pid, self._daemon.stop_limit, report):
            raise CommandFailed(f"mlxd (pid {pid}) is still stopping; see: mlxctl status")

    def _wait_for_answer(self, target: str, ended_before: int) -> Status:
        """Give the status of the daemon once it answers, after `ended_before` runs of others.

        Raises:
            CommandFailed: it ends instead, or does not answer in time.
        """
        look = 0.0
        for now in until(START_SECONDS):
            # Asked only while it runs: a socket that launchd keeps would take the question.
            if (pid := self.pid()) and (status := self._daemon.answer_of(pid)):
                return status
            if now < look:
                continue
            look = now + _LOOK_SECONDS
            job = self._control.job(target)
            ended = job is not None and job.pid is None and job.last_exit is not None
            if job is not None and ended and (job.runs or 0) > ended_before:
                said = last_words(_stderr_of(self._read()))
                raise CommandFailed(
                    f"mlxd did not start: {said}"
                    if said
                    else f"mlxd did not start (exit status {job.last_exit}); see: mlxctl logs"
                )
        raise NoAnswer(
            f"mlxd did not answer on {self._daemon.socket_file} within {START_SECONDS:g} s; "
            f"see: mlxctl logs, launchctl print {target}"
        )


def _make_folder(folder: Path, user: str | None) -> None:
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=0o700)
        if user is not None:
            shutil.chown(missing, user)


def _stderr_of(found: Plist | None) -> Path:
    """Give where launchd puts what the daemon prints; Homebrew has a place of its own."""
    return Path((found or {}).get("StandardErrorPath", paths.stderr_file()))
