"""systemd: a service and its socket units, of this user."""

import os
import re
import shlex
from pathlib import Path

from mlxctl.errors import CommandFailed, NoAnswer, NotRunning
from mlxctl.programs import ProgramResult, run
from mlxctl.service.description import OPEN_FILES, UMASK, Description, Mode, carried, describe
from mlxctl.service.manager import Fault, Report, ServiceStatus
from mlxctl.service.probe import START_SECONDS, Probe, until
from mlxctl.service.process import ProcessManager
from mlxd import config, paths
from mlxd.config import Config
from mlxd.control_api import Status
from mlxd.errors import ConfigError
from mlxd.files import write_atomically
from mlxd.units import address

_PATIENCE_SECONDS = 60.0  # beyond what the daemon may take to stop
_BY_SIGNAL = {"2", "3"}  # CLD_KILLED, CLD_DUMPED
_STARTS = 20  # within ten seconds: one that goes when idle is started more often than others
_CONFIG_STATUS = 78  # EX_CONFIG; see mlxd.__main__
_VARIABLE = "Environment="


def units(service: Description, name: str = "mlxd") -> dict[str, str]:
    """Return the units of `service` by their file's name."""
    # A socket unit has one name for all that it listens on, so there are two.
    sockets = f"{name}.socket {name}-http.socket" if service.host else f"{name}.socket"
    lines = [
        "[Unit]",
        "Description=mlxd, the language-model daemon",
        f"Requires={sockets}",
        f"After={sockets}",
        f"StartLimitBurst={_STARTS}",
        "",
        "[Service]",
        f"Sockets={sockets}",
        f"ExecStart={' '.join(map(_quoted, service.program))}",
        *(
            f"{_VARIABLE}{_quoted(f'{key}={value}')}"
            for key, value in sorted(service.environment.items())
        ),
        *([f"User={service.user}"] if service.mode is Mode.SYSTEM else []),
        f"StandardError=append:{service.stderr}",
        "Restart=on-failure",
        "RestartSec=5",
        f"RestartPreventExitStatus={_CONFIG_STATUS}",
        "KillMode=mixed",
        f"TimeoutStopSec={service.stop_seconds}",
        f"LimitNOFILE={OPEN_FILES}",
        f"UMask={UMASK:04o}",
    ]
    if service.mode is not Mode.ON_DEMAND:
        target = "multi-user.target" if service.mode is Mode.SYSTEM else "default.target"
        lines += ["", "[Install]", f"WantedBy={target}"]
    private = ("SocketMode=0600", "DirectoryMode=0700")
    made = {
        f"{name}.service": _text(lines),
        f"{name}.socket": _socket_unit(name, "Unix", service.socket, "local", *private),
    }
    if service.host:
        http = address(service.host, service.port)
        made[f"{name}-http.socket"] = _socket_unit(name, "TCP", http, "http")
    return made


def _socket_unit(name: str, kind: str, listen: str, descriptor: str, *more: str) -> str:
    lines = ["[Unit]", f"Description=The {kind} socket of mlxd", ""]
    lines += ["[Socket]", f"ListenStream={listen}", f"FileDescriptorName={descriptor}", *more]
    lines += [f"Service={name}.service", "", "[Install]", "WantedBy=sockets.target"]
    return _text(lines)


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Quote a word for a unit, if needed, so that it is taken literally."""
    text = text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return text if re.fullmatch(r"[\w@%+=:,./~-]+", text) else f'"{text}"'


def _environment_of(unit: str) -> dict[str, str]:
    """Return the variables that `units` wrote into a service."""
    lines = [line for line in unit.splitlines() if line.startswith(_VARIABLE)]
    words = [shlex.split(line.removeprefix(_VARIABLE))[0] for line in lines]
    return dict(word.replace("%%", "%").partition("=")[::2] for word in words)


class SystemdManager:
    """Drives the units `name` of this user; see `ServiceManager`."""

    is_homebrews = False

    def __init__(self, settings: Config, systemctl: str, name: str) -> None:
        self._config = settings
        self._systemctl = systemctl
        self._name = name
        self._daemon = Probe(settings)
        root = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        self._folder = Path(root) / "systemd" / "user"
        self._service = self._folder / f"{name}.service"

    def installed(self) -> bool:
        """Whether mlxctl wrote the service's unit."""
        return self._service.exists()

    def pid(self) -> int | None:
        """Return the daemon's process id, None when none runs."""
        return self._daemon.pid()

    def keeps_sockets(self) -> bool:
        """Whether asking on the daemon's socket would start it."""
        return self._is("active", f"{self._name}.socket")

    def describe(self) -> ServiceStatus:
        """Describe the service and what is wrong with it."""
        mode, active = self._mode(), self.keeps_sockets()
        enabled = self._is("enabled", f"{self._name}.socket")
        faults = []
        if not self._is_current(mode):
            message = f"{self._service} is not what this mlxctl would write"
            faults.append(Fault(message, "mlxctl install"))
        pid = int(self._show("MainPID") or 0)
        return ServiceStatus(
            manager="systemd",
            label=self._service.name,
            file=str(self._service),
            loaded=active,
            pid=pid or None,
            keeps_sockets=active,
            starts=mode.value if enabled else "never: disabled",
            last_exit=self._last_exit(),
            faults=faults,
        )

    def start(self, report: Report) -> Status:  # noqa: ARG002  systemctl itself waits
        """Start the sockets and the service, and wait until the daemon answers."""
        self._forget_failures()
        self._run("start", *self._sockets(), self._service.name)
        for _ in until(START_SECONDS):
            if (pid := self.pid()) and (status := self._daemon.answer_of(pid)):
                return status
            if self._is("failed", self._service.name):
                said = self._daemon.start_failure() or "see: mlxctl logs"
                raise CommandFailed(f"mlxd did not start: {said}")
        raise NoAnswer(f"mlxd did not answer on {self._daemon.socket_file}; see: mlxctl logs")

    def restart(self, report: Report) -> Status:
        """Restart the service and keep the sockets: connections wait for the new daemon."""
        self._run("stop", self._service.name)
        return self.start(report)

    def stop(self, report: Report) -> None:
        """Stop the sockets and the service; running requests finish."""
        pid = self.pid()
        if pid is None and not self.keeps_sockets():
            raise NotRunning("mlxd is not running")
        self._run("stop", *self._sockets(), self._service.name)
        if pid is not None and self.pid() == pid:
            ProcessManager(self._config).stop(report)  # one that was started by hand

    def preview(self, mode: Mode) -> str:
        """Return the units that `install` would write."""
        made = units(self._wanted(mode, carried(os.environ)), self._name)
        return "\n".join(f"# {self._folder / name}\n{text}" for name, text in made.items())

    def install(self, mode: Mode, report: Report) -> bool:
        """Write, enable and start the units, if they are not what they should be already."""
        if mode is Mode.SYSTEM:
            raise CommandFailed(
                "system-wide systemd units are installed by an administrator; to print them: "
                "mlxctl install --system --print"
            )
        made = units(self._wanted(mode, carried(os.environ)), self._name)
        if self._has(made) and self.keeps_sockets():
            return False
        if self.pid() is not None and not self.keeps_sockets():
            report("mlxd runs already, and is stopped: from now on systemd starts it")
            ProcessManager(self._config).stop(report)
        try:
            for folder in (paths.log_dir(), self._daemon.socket_file.parent):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.mkdir(parents=True, exist_ok=True)
            for name, text in made.items():  # replacing a link to /dev/null: a masked unit
                write_atomically(self._folder / name, text.encode(), 0o644)
        except OSError as error:
            raise CommandFailed(f"{error.filename}: {error.strerror}") from error
        self._run("daemon-reload")
        self._run("stop", self._service.name)
        self._forget_failures()
        self.enable()
        self._run("restart", *self._sockets())
        if mode is not Mode.ON_DEMAND:
            self._run("start", self._service.name)
        return True

    def uninstall(self, report: Report) -> bool:  # noqa: ARG002  systemctl itself waits
        """Stop and disable the units, and remove them."""
        if not self.installed():
            return False
        self._run("disable", "--now", *self._sockets(), self._service.name)
        for name in (*self._sockets(), self._service.name):
            (self._folder / name).unlink(missing_ok=True)
        self._run("daemon-reload")
        return True

    def enable(self) -> None:
        """Let systemd start the service at login, or on demand."""
        service = [] if self._mode() is Mode.ON_DEMAND else [self._service.name]
        self._run("enable", *self._sockets(), *service)

    def disable(self) -> None:
        """Do not start the service automatically. A running daemon keeps running."""
        self._run("disable", *self._sockets(), self._service.name)

    def _forget_failures(self) -> None:
        """Let systemd start units again that failed, or were started, too often."""
        self._do("reset-failed", *self._sockets(), self._service.name)

    def _sockets(self) -> list[str]:
        names = (f"{self._name}.socket", f"{self._name}-http.socket")
        return [name for name in names if (self._folder / name).exists()]

    def _mode(self) -> Mode:
        return Mode.AT_LOGIN if "[Install]" in self._service.read_text() else Mode.ON_DEMAND

    def _wanted(self, mode: Mode, environment: dict[str, str]) -> Description:
        return describe(config.load(environ=environment), mode, environment)

    def _is_current(self, mode: Mode) -> bool:
        """Whether the units are what `install` would write with their variables."""
        environment = _environment_of(self._service.read_text())
        try:
            return self._has(units(self._wanted(mode, environment), self._name))
        except ConfigError:
            return True  # the configuration's fault, which others tell

    def _last_exit(self) -> str | None:
        """Return how the last process ended; None if none has."""
        number = self._show("ExecMainStatus")
        if not self._show("ExecMainExitTimestamp"):
            return None
        return f"signal {number}" if self._show("ExecMainCode") in _BY_SIGNAL else number

    def _has(self, made: dict[str, str]) -> bool:
        try:
            return all((self._folder / name).read_text() == text for name, text in made.items())
        except OSError:
            return False

    def _is(self, state: str, unit: str) -> bool:
        return self._do(f"is-{state}", "--quiet", unit).status == 0

    def _show(self, field: str) -> str:
        return self._do("show", "--value", "-p", field, self._service.name).output.strip()

    def _run(self, *arguments: str) -> None:
        done = self._do(*arguments)
        if done.status:
            command = f"systemctl --user {' '.join(arguments)}"
            raise CommandFailed(f"{command} failed: {done.reason}; see: mlxctl doctor")

    def _do(self, *arguments: str) -> ProgramResult:
        seconds = self._daemon.stop_limit + _PATIENCE_SECONDS
        return run([self._systemctl, "--user", *arguments], seconds=seconds)
