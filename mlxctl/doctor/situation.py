"""What the checks look at, gathered once."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlxctl.client import Client
from mlxctl.errors import CommandFailed, NotRunning
from mlxctl.service.choose import in_charge
from mlxctl.service.manager import ServiceStatus
from mlxctl.service.owner import owner
from mlxd import config as configuration
from mlxd import paths
from mlxd.api.control import ModelList, Status
from mlxd.config import Config
from mlxd.errors import ConfigError

_SYSCTL = "/usr/sbin/sysctl"
_SYSCTL_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Machine:
    """This machine: `system` is "Darwin" or "Linux", `release` of macOS its version.

    `wired_limit_mb` is the sysctl iogpu.wired_limit_mb, 0 where the system chooses or has none.
    """

    system: str
    release: str
    processor: str
    chip: str
    memory_bytes: int
    wired_limit_mb: int = 0


@dataclass(frozen=True, kw_only=True)
class Situation:
    """The machine, the configuration, or what is wrong with it, and the daemon, if it answers.

    `pid` is the process that holds the lock, `silence` why it does not answer. One that is `asleep`
    is started by the first connection, and so nobody may connect. `service` is who starts it, or
    `service_fault` why that is not known.
    """

    machine: Machine
    config: Config | None = None
    config_fault: str | None = None
    pid: int | None = None
    status: Status | None = None
    models: ModelList | None = None
    silence: str | None = None
    asleep: bool = False
    service: ServiceStatus = field(default_factory=lambda: ServiceStatus(manager="none"))
    service_fault: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


def look() -> Situation:
    """Gather all of it; whatever is wrong is part of it."""
    config: Config | None = None
    config_fault: str | None = None
    try:
        config = configuration.load()
        configuration.check(config)
    except ConfigError as error:
        config_fault = error.message
    client = Client((config or Config()).socket_file(), warn=False)
    service, service_fault, asleep = ServiceStatus(manager="none"), None, False
    try:
        manager = in_charge(config or Config())
        service = manager.describe()
        asleep = service.keeps_sockets and manager.pid() is None
    except (CommandFailed, ConfigError) as error:
        service_fault = error.message
    pid: int | None = None
    status: Status | None = None
    models: ModelList | None = None
    silence: str | None = None
    try:
        pid = owner(paths.lock_file())
        if not asleep:
            status = client.status()
            models = client.models()
    except NotRunning:
        silence = "nobody listens on its socket" if pid else None
    except CommandFailed as error:
        silence = error.message
    return Situation(
        machine=this_machine(),
        config=config,
        config_fault=config_fault,
        pid=pid,
        status=status,
        models=models,
        silence=silence,
        asleep=asleep,
        service=service,
        service_fault=service_fault,
        environ=os.environ,
    )


def this_machine() -> Machine:
    """Look at this machine."""
    on_mac = sys.platform == "darwin"
    return Machine(
        system=platform.system(),
        release=platform.mac_ver()[0] if on_mac else platform.release(),
        processor=platform.machine(),
        chip=_sysctl("machdep.cpu.brand_string") if on_mac else "",
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        wired_limit_mb=int(_sysctl("iogpu.wired_limit_mb") or 0) if on_mac else 0,
    )


def _sysctl(name: str) -> str:
    """Give what a Mac knows under `name`, nothing where it knows none. Runs on a Mac only."""
    try:
        done = subprocess.run(
            [_SYSCTL, "-n", name], capture_output=True, text=True, timeout=_SYSCTL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
