"""systemd: a service and its socket units, of this user."""

import os
import re
import shlex
from collections import defaultdict
from pathlib import Path

from mlxctl.errors import CommandFailed
from mlxctl.programs import ProgramResult, run
from mlxctl.service.description import OPEN_FILES, UMASK, Description, Mode, carried, describe
from mlxctl.service.manager import Fault, Installer, Report, ServiceStatus
from mlxd.config import Config
from mlxd.control_api import Status
from mlxd.errors import ConfigError
from mlxd.units import address

_LOOK_SECONDS = 10.0
_PATIENCE_SECONDS = 60.0  # beyond what the daemon may take to stop
_BY_SIGNAL = {"2", "3"}  # CLD_KILLED, CLD_DUMPED
_VARIABLE = "Environment="

# StartLimitBurst counts starts within ten seconds: a daemon that exits when idle has more of them.
# 78 is the exit status for a mistake in the configuration; see mlxd.__main__.
_SERVICE = """\
[Unit]
Description=mlxd, the language-model daemon
Requires={sockets}
After={sockets}
StartLimitBurst=20

[Service]
Sockets={sockets}
ExecStart={program}
ExecReload=/bin/kill -HUP $MAINPID
{settings}StandardError=append:{stderr}
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=78
KillMode=mixed
TimeoutStopSec={stop_seconds}
LimitNOFILE={open_files}
UMask={umask:04o}
{hardening}"""
# What a user's systemd can do, too: it needs no namespaces. No MemoryDenyWriteExecute, since MLX
# compiles, and nothing that limits devices, of which a GPU is one.
_HARDENING = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=~@clock @cpu-emulation @debug @module @mount @obsolete @raw-io @reboot @swap
"""
_HARDENING_OF_SYSTEM = """\
CapabilityBoundingSet=
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=full
"""
_SOCKET = """\
[Unit]
Description=The {kind} socket of mlxd

[Socket]
{listen}FileDescriptorName={descriptor}
{modes}Service={name}.service

[Install]
WantedBy=sockets.target
"""


def units(service: Description, name: str = "mlxd") -> dict[str, str]:
    """Return the units of `service` by their file's name."""
    # A socket unit has one name for all that it listens on, so there are two.
    private = "SocketMode=0600\nDirectoryMode=0700\n"
    sockets = {f"{name}.socket": _socket_unit("Unix", [service.socket], "local", private, name)}
    if service.host:
        http = [address(each, service.port) for each in service.addresses]
        sockets[f"{name}-http.socket"] = _socket_unit("TCP", http, "http", "", name)
    variables = [f"{key}={value}" for key, value in sorted(service.environment.items())]
    settings = [f"{_VARIABLE}{_quoted(variable)}\n" for variable in variables]
    if service.mode is Mode.SYSTEM:
        settings.append(f"User={service.user}\n")
    made = _SERVICE.format(
        sockets=" ".join(sockets),
        program=" ".join(map(_quoted, service.program)),
        settings="".join(settings),
        stderr=service.stderr,
        stop_seconds=service.stop_seconds,
        open_files=OPEN_FILES,
        umask=UMASK,
        hardening=_HARDENING + (_HARDENING_OF_SYSTEM if service.mode is Mode.SYSTEM else ""),
    )
    if service.mode is not Mode.ON_DEMAND:
        target = "multi-user.target" if service.mode is Mode.SYSTEM else "default.target"
        made += f"\n[Install]\nWantedBy={target}\n"
    return {f"{name}.service": made, **sockets}


def _socket_unit(kind: str, addresses: list[str], descriptor: str, modes: str, name: str) -> str:
    listen = "".join(f"ListenStream={each}\n" for each in addresses)
    return _SOCKET.format(kind=kind, listen=listen, descriptor=descriptor, modes=modes, name=name)


def _quoted(text: str) -> str:
    """Quote a word for a unit, if needed, so that it is taken literally."""
    text = text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return text if re.fullmatch(r"[\w@%+=:,./~-]+", text) else f'"{text}"'


def _environment_of(unit: str) -> dict[str, str]:
    """Return the variables that `units` wrote into a service."""
    lines = [line for line in unit.splitlines() if line.startswith(_VARIABLE)]
    words = [shlex.split(line.removeprefix(_VARIABLE))[0] for line in lines]
    return dict(word.replace("%%", "%").partition("=")[::2] for word in words)


class SystemdManager(Installer):
    """Drives the units `name` of this user."""

    name = "systemd"

    def __init__(self, config: Config, name: str) -> None:
        super().__init__(config)
        self._name = name
        self._unit = f"{name}.service"
        root = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        self._folder = Path(root) / "systemd" / "user"
        self.file = self._folder / self._unit

    def installed(self) -> bool:
        """Whether mlxctl wrote the service's unit."""
        return self.file.exists()

    def describe(self) -> ServiceStatus:
        """Describe the units."""
        listens, enabled = self._listens(), self._is("enabled", f"{self._name}.socket")
        seen = self._properties()
        code, exited = seen["ExecMainStatus"], seen["ExecMainExitTimestamp"]
        by_signal = seen["ExecMainCode"] in _BY_SIGNAL
        outdated = Fault(f"{self.file} is out of date", "mlxctl install")
        return ServiceStatus(
            manager=self.name,
            label=self._unit,
            file=str(self.file),
            loaded=listens,
            pid=int(seen["MainPID"] or 0) or None,
            keeps_sockets=listens,
            starts=self._mode().value if enabled else "never: disabled",
            last_exit=(f"signal {code}" if by_signal else code) if exited else None,
            faults=[] if self._is_current() else [outdated],
        )

    def restart(self, report: Report) -> Status:
        """Restart the service and keep the sockets: connections wait for the new daemon."""
        pid = self.pid()
        self._run("stop", self._unit)
        if pid is not None and self.pid() == pid:
            self.stop(report)  # a daemon that systemd did not start
        return self.start(report)

    def preview(self, mode: Mode) -> str:
        """Return the units that `install` would write."""
        made = units(describe(mode, carried(os.environ)), self._name)
        return "\n".join(f"# {self._folder / name}\n{text}" for name, text in made.items())

    def install(self, mode: Mode, report: Report) -> bool:
        """Write, enable and start the units, if they are not what they should be already."""
        if mode is Mode.SYSTEM:
            raise CommandFailed(
                "system-wide systemd units are installed by an administrator; to print them: "
                "mlxctl install --system --print"
            )
        made = units(describe(mode, carried(os.environ)), self._name)
        if self._has(made) and self._listens():
            return False
        if not self._listens():
            self._replace_other(report)
        for name, text in made.items():  # replacing a link to /dev/null: a masked unit
            self._write(self._folder / name, text.encode())
        self._run("daemon-reload")
        self._run("stop", self._unit)
        _systemctl("reset-failed", *self._units())
        self.enable()
        self._run("restart", *self._sockets())
        if mode is not Mode.ON_DEMAND:
            self._run("start", self._unit)
        return True

    def uninstall(self, report: Report) -> None:  # noqa: ARG002  systemctl itself waits
        """Stop and disable the units, and remove them."""
        self._run("disable", "--now", *self._units())
        for name in self._units():
            (self._folder / name).unlink(missing_ok=True)
        self._run("daemon-reload")

    def enable(self) -> None:
        """Let systemd start the service at login, or on demand."""
        self._run("enable", *(self._sockets() if self._mode() is Mode.ON_DEMAND else self._units()))

    def disable(self) -> None:
        """Do not start the service automatically. A running daemon keeps running."""
        self._run("disable", *self._units())

    def _start(self) -> Status:
        """Start the sockets and the service, and wait until the daemon answers."""
        _systemctl("reset-failed", *self._units())  # those that failed too often start again
        self._run("start", *self._units())

        def failure() -> str:
            failed = self._is("failed", self._unit)
            return f"{self._unit} failed. See: mlxctl logs" if failed else ""

        return self._wait_for_answer(failure)

    def _unload(self, report: Report) -> bool:  # noqa: ARG002  systemctl itself waits
        """Stop the sockets and the service; running requests finish."""
        if not self._listens():
            return False
        self._run("stop", *self._units())
        return True

    def _sockets(self) -> list[str]:
        names = (f"{self._name}.socket", f"{self._name}-http.socket")
        return [name for name in names if (self._folder / name).exists()]

    def _units(self) -> list[str]:
        return [*self._sockets(), self._unit]

    def _mode(self) -> Mode:
        return Mode.AT_LOGIN if "[Install]" in self.file.read_text() else Mode.ON_DEMAND

    def _is_current(self) -> bool:
        """Whether the units are what `install` would write with their variables."""
        environment = _environment_of(self.file.read_text())
        try:
            return self._has(units(describe(self._mode(), environment), self._name))
        except ConfigError:
            return True  # other commands report a mistake in the configuration

    def _has(self, made: dict[str, str]) -> bool:
        try:
            return all((self._folder / name).read_text() == text for name, text in made.items())
        except OSError:
            return False

    def _listens(self) -> bool:
        """Whether a connection to the daemon's socket would start it."""
        return self._is("active", f"{self._name}.socket")

    def _is(self, state: str, unit: str) -> bool:
        return _systemctl(f"is-{state}", "--quiet", unit).status == 0

    def _properties(self) -> dict[str, str]:
        """Return what systemd knows about the service; what it does not tell is empty."""
        lines = _systemctl("show", self._unit).output.splitlines()
        return defaultdict(str, (line.partition("=")[::2] for line in lines))

    def _run(self, *arguments: str) -> None:
        done = _systemctl(*arguments, seconds=self._daemon.stop_limit + _PATIENCE_SECONDS)
        if done.status:
            command = f"systemctl --user {' '.join(arguments)}"
            raise CommandFailed(f"{command} failed: {done.reason}; see: mlxctl doctor")


def _systemctl(*arguments: str, seconds: float = _LOOK_SECONDS) -> ProgramResult:
    return run(["systemctl", "--user", *arguments], seconds=seconds)
