"""What the checks look at, gathered once, without waking a daemon that sleeps."""

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlxctl.client import Client
from mlxctl.doctor.background import FAILURES, BackgroundCall, explained
from mlxctl.doctor.disk import ModelsOnDisk, on_disk
from mlxctl.errors import CommandFailed, NotRunning
from mlxctl.service.choose import in_charge
from mlxctl.service.manager import ServiceStatus
from mlxctl.service.pidfile import may_be_elsewhere, owner
from mlxd import config as configuration
from mlxd import control_api, paths
from mlxd.config import Config
from mlxd.control_api import ModelListing, PullStatus, Status
from mlxd.errors import ConfigError

_SYSCTL = "/usr/sbin/sysctl"
_SYSCTL_SECONDS = 5.0
_SERVICE_SECONDS = 5.0
_ANSWER_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Machine:
    """This machine: `system` is "Darwin" or "Linux", `release` of macOS its version.

    `processor` is what this Python is made for, and `translated` says that the processor is
    another one. `wired_limit_mb` is the sysctl iogpu.wired_limit_mb, 0 where the system chooses or
    has none; `proxy` is the one for http in the Mac's network settings.
    """

    system: str
    release: str
    processor: str
    chip: str
    memory_bytes: int
    translated: bool = False
    wired_limit_mb: int = 0
    proxy: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The machine, the configuration, or what is wrong with it, and the daemon, if it answers.

    `service` says who is in charge, `service_fault` why that cannot be found out; neither is there
    where the configuration is at fault. `asleep` is a daemon that the first connection starts.
    `pid` is the process that holds the lock, `silence` why it does not answer. `models` and `pulls`
    are what the daemon knows of them, or else what is on the disk; `models_fault` says why nobody
    knows.
    """

    machine: Machine
    config: Config | None = None
    config_fault: str | None = None
    service: ServiceStatus | None = None
    service_fault: str | None = None
    asleep: bool = False
    pid: int | None = None
    status: Status | None = None
    silence: str | None = None
    models: ModelListing | None = None
    pulls: Sequence[PullStatus] = ()
    models_fault: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


def look() -> Facts:
    """Gather all of it; whatever is wrong is part of it.

    Raises:
        ConfigError: MLXD_HOME is at fault, so that there is nowhere to look.
    """
    paths.home()
    config: Config | None = None
    config_fault: str | None = None
    try:
        config = configuration.load()
        configuration.check(config)
    except ConfigError as error:
        config_fault = error.message
    settings = config or Config()
    machine = BackgroundCall(this_machine)
    service, service_fault, kept = _service(settings)
    pid, status, silence = None, None, None
    try:
        pid = owner(paths.lock_file())
        elsewhere = not (service_fault or config_fault) and may_be_elsewhere(settings, kept=kept)
        if pid or elsewhere:
            client = Client(settings.socket_file(), warn=False, patience=_ANSWER_SECONDS)
            status = client.call(control_api.STATUS)
    except NotRunning:
        silence = "nobody listens on its socket" if pid else None
    except CommandFailed as error:
        silence = error.message
    catalog, models_fault = _catalog(settings, running=status is not None)
    return Facts(
        machine=machine.result(_SYSCTL_SECONDS),
        config=config,
        config_fault=config_fault,
        service=service,
        service_fault=service_fault,
        asleep=kept and pid is None,
        pid=pid,
        status=status,
        silence=silence,
        models=catalog.models if catalog else None,
        pulls=catalog.pulls if catalog else (),
        models_fault=models_fault,
        environ=os.environ,
    )


def _service(settings: Config) -> tuple[ServiceStatus | None, str | None, bool]:
    """Give who is in charge, why nobody knows, and whether that one keeps the sockets."""

    def ask() -> tuple[ServiceStatus | None, bool]:
        manager = in_charge(settings)
        kept = manager.keeps_sockets()
        described: ServiceStatus | None = None
        with contextlib.suppress(ConfigError):  # told as the configuration's
            described = manager.describe()
        return described, kept

    try:
        described, kept = BackgroundCall(ask).result(_SERVICE_SECONDS)
    except FAILURES as error:
        return None, explained(error), False
    return described, None, kept


def _catalog(settings: Config, *, running: bool) -> tuple[ModelsOnDisk | None, str | None]:
    """Give what there is of models, or why nobody knows."""
    client = Client(settings.socket_file(), warn=False, patience=_ANSWER_SECONDS)
    try:
        if running:
            return ModelsOnDisk(
                client.call(control_api.LIST_MODELS), client.call(control_api.LIST_PULLS).pulls
            ), None
        return on_disk(), None
    except CommandFailed as error:
        return None, error.message


def this_machine() -> Machine:
    """Look at this machine."""
    on_mac = sys.platform == "darwin"
    processor = platform.machine()
    return Machine(
        system=platform.system(),
        release=platform.mac_ver()[0] if on_mac else platform.release(),
        processor=processor,
        chip=_sysctl("machdep.cpu.brand_string") if on_mac else "",
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        # Which is true of the chip, whatever it pretends to be.
        translated=on_mac and processor != "arm64" and _sysctl("hw.optional.arm64") == "1",
        wired_limit_mb=int(_sysctl("iogpu.wired_limit_mb") or 0) if on_mac else 0,
        proxy=_proxy_of_mac() if on_mac else "",
    )


def _proxy_of_mac() -> str:
    """Give the proxy of the network settings, as Python's own clients find it. On a Mac only."""
    from urllib import request

    found: dict[str, str] = getattr(request, "getproxies_macosx_sysconf", dict)()
    return found.get("http", "")


def _sysctl(name: str) -> str:
    """Give what a Mac knows under `name`, nothing where it knows none. Runs on a Mac only."""
    try:
        done = subprocess.run(
            [_SYSCTL, "-n", name], capture_output=True, text=True, timeout=_SYSCTL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
