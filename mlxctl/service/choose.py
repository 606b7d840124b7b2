"""Which service manager is in charge of the daemon of this home, or is to be."""

import os
import sys
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
    if (launchctl := launchctl_path()) is not None:
        from mlxctl.service.homebrew import LABEL, HomebrewJob
        from mlxctl.service.launchctl import Launchctl
        from mlxctl.service.launchd import AGENTS, DAEMONS, LaunchdManager

        jobs = [(LaunchdManager, label(), AGENTS), (LaunchdManager, label(), DAEMONS)]
        if paths.home() is None:  # Homebrew's service always has the default home
            jobs += [(HomebrewJob, LABEL, AGENTS), (HomebrewJob, LABEL, DAEMONS)]
        for kind, name, folder in jobs:
            job = kind(config, Launchctl(launchctl), name, folder)
            if job.installed():
                return job
    elif (systemctl := systemctl_path()) is not None:
        from mlxctl.service.systemd import SystemdManager

        unit = SystemdManager(config, systemctl, unit_name())
        if unit.installed():
            return unit
    return None


def to_install(config: Config, name: str | None, mode: Mode) -> Installer:
    """Return the manager called `name`, or this system's, to install the service with.

    Raises:
        CommandFailed: this system has none.
    """
    from mlxctl.service.launchctl import Launchctl
    from mlxctl.service.launchd import AGENTS, DAEMONS, LaunchdManager
    from mlxctl.service.systemd import SystemdManager

    launchctl, systemctl = launchctl_path(), systemctl_path()
    if name is None and (launchctl or systemctl):
        name = usual()
    if name == "launchd":
        folder = DAEMONS if mode is Mode.SYSTEM else AGENTS
        return LaunchdManager(config, Launchctl(launchctl or "launchctl"), label(), folder)
    if name == "systemd":
        return SystemdManager(config, systemctl or "systemctl", unit_name())
    raise CommandFailed("this system has neither launchd nor systemd. Run: mlxctl start")


def usual() -> str:
    """Return the name of this system's service manager."""
    return "launchd" if launchctl_path() or sys.platform == "darwin" else "systemd"


def label() -> str:
    """Return the label of this home's launchd job; a second home has another one."""
    from mlxctl.service.plist import LABEL

    return LABEL + _suffix(".")


def unit_name() -> str:
    """Return the name of this home's systemd units, without their kind."""
    return "mlxd" + _suffix("-")


def launchctl_path() -> str | None:
    """Return the path of launchctl; None on a system without launchd."""
    return _find("launchctl")


def systemctl_path() -> str | None:
    """Return the path of systemctl where systemd manages this user's services; else None."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return _find("systemctl") if runtime and os.path.isdir(f"{runtime}/systemd") else None


def _suffix(separator: str) -> str:
    home = paths.home()
    return "" if home is None else f"{separator}{zlib.crc32(bytes(home)):08x}"


def _find(program: str) -> str | None:
    # shutil.which() imports a dozen modules that `mlxctl status` does not need.
    for folder in os.get_exec_path():
        path = os.path.join(folder, program)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None
