"""Which service manager is in charge of the daemon of this home, or is to be."""

import os
import shutil
import zlib

from mlxctl.errors import CommandFailed
from mlxctl.service.description import Mode
from mlxctl.service.manager import Installer, ServiceManager
from mlxd import paths
from mlxd.config import Config

# The managers are imported only where they are used, to keep `mlxctl status` quick.


def in_charge(config: Config) -> ServiceManager:
    """Return the manager that the service is installed with, or else mlxctl itself."""
    if (manager := installed(config)) is not None:
        return manager
    from mlxctl.service.process import ProcessManager

    return ProcessManager(config)


def installed(config: Config) -> Installer | None:
    """Return the manager that the service is installed with; None where it is not installed."""
    known: list[Installer] = []
    if has_launchd():
        from mlxctl.service.homebrew import LABEL, HomebrewJob
        from mlxctl.service.launchd import AGENTS, DAEMONS, LaunchdManager

        known += [LaunchdManager(config, label(), folder) for folder in (AGENTS, DAEMONS)]
        if paths.home() is None:  # Homebrew's service always has the default home
            known += [HomebrewJob(config, LABEL, folder) for folder in (AGENTS, DAEMONS)]
    elif has_systemd():
        from mlxctl.service.systemd import SystemdManager

        known += [SystemdManager(config, unit_name())]
    return next((manager for manager in known if manager.installed()), None)


def to_install(config: Config, name: str | None, mode: Mode) -> Installer:
    """Return the manager called `name`, or this system's, to install the service with.

    Raises:
        CommandFailed: this system has none.
    """
    from mlxctl.service.launchd import AGENTS, DAEMONS, LaunchdManager
    from mlxctl.service.systemd import SystemdManager

    if name is None and not (has_launchd() or has_systemd()):
        raise CommandFailed("this system has neither launchd nor systemd. Run: mlxctl start")
    if (name or usual()) == "launchd":
        return LaunchdManager(config, label(), DAEMONS if mode is Mode.SYSTEM else AGENTS)
    return SystemdManager(config, unit_name())


def usual() -> str:
    """Return the name of this system's service manager."""
    return "launchd" if has_launchd() else "systemd"


def label() -> str:
    """Return the label of this home's launchd job; a second home has another one."""
    from mlxctl.service.plist import LABEL

    return LABEL + _suffix(".")


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
