"""systemd: a service and a socket unit of this user's."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from mlxctl.errors import CommandFailed, NoAnswer, NotRunning
from mlxctl.service.description import OPEN_FILES, UMASK, Description, Mode, carried, describe
from mlxctl.service.manager import Fault, Report, ServiceStatus
from mlxctl.service.probe import START_SECONDS, Probe, last_words, until
from mlxctl.service.process import ProcessManager
from mlxd import config, paths
from mlxd.config import Config
from mlxd.control_api import Status

_PATIENCE_SECONDS = 60.0  # beyond what the daemon may take to stop
_BY_SIGNAL = {"2", "3"}  # CLD_KILLED, CLD_DUMPED
_STARTS = 20  # within ten seconds: one that goes when idle is started more often than others
_CONFIG_STATUS = 78  # EX_CONFIG; see mlxd.__main__


def units(service: Description, name: str = "mlxd") -> dict[str, str]:
    """Give the units of `service` by their file's name."""
    wanted_by = "multi-user.target" if service.mode is Mode.SYSTEM else "default.target"
    # A socket unit has one name for all that it listens on, so there are two.
    listens = f"{name}.socket {name}-http.socket" if service.host else f"{name}.socket"
    unit = [
        "[Unit]",
        "Description=mlxd, the language-model daemon",
        f"Requires={listens}",
        f"After={listens}",
        f"StartLimitBurst={_STARTS}",
        "",
        "[Service]",
        f"Sockets={listens}",
        f"ExecStart={' '.join(map(_quoted, service.program))}",
        *(f"Environment={_quoted(f'{key}={value}')}" for key, value in _sorted(service)),
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
        unit += ["", "[Install]", f"WantedBy={wanted_by}"]
    http = f"[{service.host}]" if ":" in service.host else service.host
    socket = [
        "[Unit]",
        "Description=The Unix socket of mlxd",
        "",
        "[Socket]",
        f"ListenStream={service.socket}",
        "FileDescriptorName=local",
        "SocketMode=0600",
        "DirectoryMode=0700",
        f"Service={name}.service",
        "",
        "[Install]",
        "WantedBy=sockets.target",
    ]
    made = {f"{name}.service": unit, f"{name}.socket": socket}
    if service.host:
        made[f"{name}-http.socket"] = [
            "[Unit]",
            "Description=The TCP socket of mlxd",
            "",
            "[Socket]",
            f"ListenStream={http}:{service.port}",
            "FileDescriptorName=http",
            f"Service={name}.service",
            "",
            "[Install]",
            "WantedBy=sockets.target",
        ]
    return {file: "\n".join(lines) + "\n" for file, lines in made.items()}


def environment_of(unit: str) -> dict[str, str]:
    """Give the variables that `units` has written into a service."""
    lines = (line.removeprefix("Environment=") for line in unit.splitlines() if _sets(line))
    return dict(_unquoted(line).partition("=")[::2] for line in lines)


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
        """Whether there is a unit of ours."""
        return self._service.exists()

    def pid(self) -> int | None:
        """Give the daemon's process id, None when none runs."""
        return self._daemon.pid()

    def keeps_sockets(self) -> bool:
        """Whether asking on the daemon's socket would start it."""
        return self._is("active", f"{self._name}.socket")

    def describe(self) -> ServiceStatus:
        """Give who is in charge, and what is wrong with that."""
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
                said = last_words(paths.stderr_file()) or "see: mlxctl logs"
                raise CommandFailed(f"mlxd did not start: {said}")
        raise NoAnswer(f"mlxd did not answer on {self._daemon.socket_file}; see: mlxctl logs")

    def restart(self, report: Report) -> Status:
        """End the service but not the sockets, so that who connects meanwhile waits."""
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
        """Give the units that `install` would write."""
        made = units(self._wanted(mode, carried(os.environ)), self._name)
        return "\n".join(f"# {self._folder / name}\n{text}" for name, text in made.items())

    def install(self, mode: Mode, report: Report) -> bool:
        """Write the units, enable and start them; what is right already is left alone."""
        if mode is Mode.SYSTEM:
            raise CommandFailed(
                "with systemd, units of the whole machine are the administrator's: "
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
            for name, text in made.items():
                fresh = self._folder / f".{name}.{os.getpid()}"
                fresh.write_text(text)
                fresh.replace(self._folder / name)  # which may be a link to /dev/null: masked
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
        """Have systemd start it by itself."""
        service = [] if self._mode() is Mode.ON_DEMAND else [self._service.name]
        self._run("enable", *self._sockets(), *service)

    def disable(self) -> None:
        """Have systemd start it no more by itself; one that runs goes on."""
        self._run("disable", *self._sockets(), self._service.name)

    def _forget_failures(self) -> None:
        """Have systemd start again what has failed, or was started, too often."""
        self._do("reset-failed", *self._sockets(), self._service.name)

    def _sockets(self) -> list[str]:
        names = (f"{self._name}.socket", f"{self._name}-http.socket")
        return [name for name in names if (self._folder / name).exists()]

    def _mode(self) -> Mode:
        return Mode.AT_LOGIN if "[Install]" in self._service.read_text() else Mode.ON_DEMAND

    def _wanted(self, mode: Mode, environment: dict[str, str]) -> Description:
        return describe(config.load(environ=environment), mode, environment)

    def _is_current(self, mode: Mode) -> bool:
        """Whether the units are what `install` would make of them today."""
        environment = environment_of(self._service.read_text())
        return self._has(units(self._wanted(mode, environment), self._name))

    def _last_exit(self) -> str | None:
        """Give how the last process ended; None where none has."""
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
        return self._do(f"is-{state}", "--quiet", unit).returncode == 0

    def _show(self, field: str) -> str:
        return self._do("show", "--value", "-p", field, self._service.name).stdout.strip()

    def _run(self, *arguments: str) -> None:
        done = self._do(*arguments)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it does not say why"])[-1]
            raise CommandFailed(
                f"systemctl --user {' '.join(arguments)} failed: {said}; see: mlxctl doctor"
            )

    def _do(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [self._systemctl, "--user", *arguments]
        limit = self._daemon.stop_limit + _PATIENCE_SECONDS
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=limit)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CommandFailed(f"{' '.join(command)}: {error}") from error


def _sets(line: str) -> bool:
    return line.startswith("Environment=")


def _sorted(service: Description) -> Iterator[tuple[str, str]]:
    return iter(sorted(service.environment.items()))


def _quoted(text: str) -> str:
    """Write a word for a unit: specifiers and quotes mean themselves."""
    text = text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"' if " " in text or '"' in text else text


def _unquoted(text: str) -> str:
    if text.startswith('"'):
        text = text[1:-1].replace('\\"', '"')
    return text.replace("\\\\", "\\").replace("%%", "%")
