"""Which service manager is in charge of the daemon of this home, or is to be."""

import sys
import zlib
from pathlib import Path

from mlxctl.errors import CommandFailed
from mlxctl.service import homebrew
from mlxctl.service.description import Mode
from mlxctl.service.find import launchctl_path, systemctl_path
from mlxctl.service.manager import Installer, ServiceManager
from mlxd import paths
from mlxd.config import Config

# The managers are imported where there is one: `mlxctl status` is to be quick.


def in_charge(settings: Config) -> ServiceManager:
    """Give the manager that knows the daemon, or else mlxctl itself."""
    if (manager := installed(settings)) is not None:
        return manager
    from mlxctl.service.process import ProcessManager

    return ProcessManager(settings)


def installed(settings: Config) -> Installer | None:
    """Give the manager that knows the daemon; None when none does."""
    if (program := launchctl_path()) is not None:
        from mlxctl.service.homebrew_launchd import HomebrewJob
        from mlxctl.service.launchctl import Launchctl
        from mlxctl.service.launchd import AGENTS, DAEMONS, LaunchdManager

        jobs = [(LaunchdManager, label(), AGENTS), (LaunchdManager, label(), DAEMONS)]
        if paths.home() is None:  # Homebrew's service has no other home
            jobs += [(HomebrewJob, homebrew.LABEL, AGENTS), (HomebrewJob, homebrew.LABEL, DAEMONS)]
        for kind, name, folder in jobs:
            job = kind(settings, Launchctl(program), name, folder)
            if job.installed():
                return job
    elif (systemctl := systemctl_path()) is not None:
        from mlxctl.service.homebrew_systemd import HomebrewUnit
        from mlxctl.service.systemd import SystemdManager

        unit = SystemdManager(settings, systemctl, unit_name())
        if unit.installed():
            return unit
        brewed = HomebrewUnit(settings, systemctl, homebrew.UNIT)
        if paths.home() is None and brewed.installed():
            return brewed
    return None


def to_install(settings: Config, name: str | None, mode: Mode) -> Installer:
    """Give the manager to install the daemon with: the one of this system where `name` is None.

    Raises:
        CommandFailed: there is none.
    """
    from mlxctl.service.launchctl import Launchctl
    from mlxctl.service.launchd import AGENTS, DAEMONS, LaunchdManager
    from mlxctl.service.systemd import SystemdManager

    program, systemctl = launchctl_path(), systemctl_path()
    if name is None and (program or systemctl):
        name = usual()
    if name == "launchd":
        folder = DAEMONS if mode is Mode.SYSTEM else AGENTS
        return LaunchdManager(settings, Launchctl(program or "launchctl"), label(), folder)
    if name == "systemd":
        return SystemdManager(settings, systemctl or "systemctl", unit_name())
    raise CommandFailed("there is neither launchd nor systemd here: mlxctl start does without")


def usual() -> str:
    """Give the name of the service manager that a system such as this one has."""
    return "launchd" if launchctl_path() or sys.platform == "darwin" else "systemd"


def label() -> str:
    """Give the name of this home's launchd job; a second home has another one."""
    from mlxctl.service.plist import LABEL

    return LABEL + _suffix(".")


def unit_name() -> str:
    """Give the name of this home's systemd units, without their kind."""
    return "mlxd" + _suffix("-")


def _suffix(separator: str) -> str:
    home: Path | None = paths.home()
    return "" if home is None else f"{separator}{zlib.crc32(bytes(home)):08x}"
