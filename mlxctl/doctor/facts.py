"""What the checks look at, gathered once, without waking a daemon that sleeps."""

import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from mlxctl.client import Client
from mlxctl.doctor.background import BackgroundCall
from mlxctl.doctor.finding import FAILURES, explained
from mlxctl.errors import CommandFailed, NotRunning
from mlxctl.programs import run
from mlxctl.service.choose import in_charge
from mlxctl.service.manager import ServiceStatus
from mlxctl.service.probe import Probe, may_be_elsewhere
from mlxd import config as configuration
from mlxd import control_api, paths, sysctl
from mlxd.config import Config
from mlxd.control_api import ModelListing, PullList, PullStatus, Status
from mlxd.errors import MlxdError
from mlxd.run_record import RunEnd

_ANSWER_SECONDS = 2.0
_DISK_SECONDS = 5.0
_SECONDS = 6.0  # for each step, of which most have a shorter limit of their own

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """This machine: `system` is "Darwin" or "Linux", `release` of macOS its version.

    `processor` is what this Python is made for; `translated` says that the real one differs.
    `wired_limit_mb` is the sysctl iogpu.wired_limit_mb, 0 if the system chooses or has none.
    """

    system: str
    release: str
    processor: str
    chip: str
    memory_bytes: int
    translated: bool = False
    wired_limit_mb: int = 0


@dataclass(kw_only=True)
class Facts:
    """The machine, the configuration or what is wrong with it, and the daemon, if it answers.

    `service` is the service manager's description, or `service_fault` why there is none. `asleep`
    is a daemon that the first connection starts. `pid` is the process that holds the lock,
    `silence` why it does not answer; `last_end` is how the daemon before it ended, or the last one
    if none runs. `models` and `pulls` come from the daemon, or else from the disk; `models_fault`
    says why they are unknown.
    """

    machine: Machine
    config: Config | None = None
    config_fault: str | None = None
    service: ServiceStatus | None = None
    service_fault: str | None = None
    pid: int | None = None
    status: Status | None = None
    silence: str | None = None
    last_end: RunEnd | None = None
    models: ModelListing | None = None
    pulls: Sequence[PullStatus] = ()
    models_fault: str | None = None

    @property
    def sockets_kept(self) -> bool:
        """Whether the service manager listens while the daemon does not run."""
        return self.service is not None and self.service.keeps_sockets

    @property
    def asleep(self) -> bool:
        """Whether no daemon runs, and the first connection starts one."""
        return self.sockets_kept and self.pid is None


def look() -> Facts:
    """Gather all facts; whatever is wrong, or takes too long, is one of them.

    Raises:
        ConfigError: MLXD_HOME is at fault, so that there is nowhere to look.
    """
    paths.home()
    facts = Facts(machine=this_machine())
    try:
        facts.config = settings = _in_time(configuration.load)
        _in_time(lambda: configuration.check(settings))
    except MlxdError as error:
        facts.config_fault = error.message
    settings = facts.config or Config()
    try:
        facts.service = _in_time(lambda: in_charge(settings).describe())
    except FAILURES as error:
        facts.service_fault = explained(error)
    probe = Probe(settings)
    client = Client(settings.socket_file(), warn=False, patience=_ANSWER_SECONDS)
    kept = facts.service is None or facts.service.keeps_sockets
    try:
        facts.pid, facts.last_end = _in_time(lambda: (probe.pid(), probe.last_end()))
        if facts.pid or may_be_elsewhere(settings, kept=kept):
            facts.status = _in_time(lambda: client.call(control_api.STATUS))
    except NotRunning:
        facts.silence = "nothing listens on its socket" if facts.pid else None
    except MlxdError as error:
        facts.silence = error.message
    try:
        listed = on_disk if facts.status is None else lambda: _of_daemon(client)
        facts.models, facts.pulls = _in_time(listed)
    except CommandFailed as error:
        facts.models_fault = error.message
    return facts


def on_disk() -> tuple[ModelListing, list[PullStatus]]:
    """Read the models directories without a daemon: those who can are part of it.

    Raises:
        CommandFailed: this fails, for example because of the configuration.
    """
    try:
        done = run([sys.executable, "-P", "-m", "mlxd.control"], seconds=_DISK_SECONDS).demand()
        models, pulls = done.output.splitlines()
        return (
            msgspec.json.decode(models, type=ModelListing),
            msgspec.json.decode(pulls, type=PullList).pulls,
        )
    except (CommandFailed, ValueError, msgspec.MsgspecError) as error:
        raise CommandFailed(f"the models directories cannot be read: {error}") from error


def _of_daemon(client: Client) -> tuple[ModelListing, list[PullStatus]]:
    return client.call(control_api.LIST_MODELS), client.call(control_api.LIST_PULLS).pulls


def this_machine() -> Machine:
    """Describe this machine."""
    on_mac = sys.platform == "darwin"
    processor = platform.machine()
    return Machine(
        system=platform.system(),
        release=platform.mac_ver()[0] if on_mac else platform.release(),
        processor=processor,
        chip=sysctl.text("machdep.cpu.brand_string") if on_mac else "",
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        # hw.optional.arm64 describes the chip, also to a program that Rosetta translates.
        translated=on_mac and processor != "arm64" and sysctl.number("hw.optional.arm64") == 1,
        wired_limit_mb=sysctl.number("iogpu.wired_limit_mb") if on_mac else 0,
    )


def _in_time(call: Callable[[], _Result]) -> _Result:
    """Return what `call` returns.

    Raises:
        CommandFailed: it takes too long.
        Exception: one of FAILURES, as `call` raised it.
    """
    return BackgroundCall(call, _SECONDS).result()
