"""Which service manager is in charge of the daemon of this home, or is to be."""

import os
import shutil
import zlib

from mlxctl.errors import CommandFailed
from mlxctl.service import homebrew, launchd, plist
from mlxctl.service.description import Mode
from mlxctl.service.homebrew import HomebrewJob
from mlxctl.service.launchd import LaunchdManager
from mlxctl.service.manager import Installer, ServiceManager
from mlxctl.service.process import ProcessManager
from mlxctl.service.systemd import SystemdManager
from mlxd import paths
from mlxd.config import Config


def in_charge(config: Config) -> ServiceManager:
    """Return the manager that the service is installed with, or else mlxctl itself."""
    return installed(config) or ProcessManager(config)


def installed(config: Config) -> Installer | None:
    """Return the manager that the service is installed with; None where it is not installed."""
    known: list[Installer] = []
    if has_launchd():
        folders = (launchd.AGENTS, launchd.DAEMONS)
        known += [LaunchdManager(config, label(), folder) for folder in folders]
        if paths.home() is None:  # Homebrew's service always has the default home
            known += [HomebrewJob(config, homebrew.LABEL, folder) for folder in folders]
    elif has_systemd():
        known += [SystemdManager(config, unit_name())]
    return next((manager for manager in known if manager.installed()), None)


def to_install(config: Config, name: str | None, mode: Mode) -> Installer:
    """Return the manager called `name`, or this system's, to install the service with.

    Raises:
        CommandFailed: this system has none.
    """
    if name is None and not (has_launchd() or has_systemd()):
        raise CommandFailed("this system has neither launchd nor systemd. Run: mlxctl start")
    if (name or usual()) == "launchd":
        folder = launchd.DAEMONS if mode is Mode.SYSTEM else launchd.AGENTS
        return LaunchdManager(config, label(), folder)
    return SystemdManager(config, unit_name())


def usual() -> str:
    """Return the name of this system's service manager."""
    return "launchd" if has_launchd() else "systemd"


def label() -> str:
    """Return the label of this home's launchd job; a second home has another one."""
    return plist.LABEL + _suffix(".")


def unit_name() -> str:
    """Return the name of this home's systemd units, without their kind."""
    return "mlxd" + _suffix("-")


def has_launchd() -> bool:
    """Whether this system has launchd."""
    return shutil.which("launchctl") is not None


def has_systemd() -> bool:
    """Whether systemd manages this user's services."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    managed = bool(runtime) and os.path.isdir(f"{runtime}/systemd")
    return managed and shutil.which("systemctl") is not None


def _suffix(separator: str) -> str:
    home = paths.home()
    return "" if home is None else f"{separator}{zlib.crc32(bytes(home)):08x}"
