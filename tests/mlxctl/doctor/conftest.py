"""Facts of a machine on which all is well, for a test to spoil."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from mlxctl.doctor.facts import Facts, Machine
from mlxctl.doctor.finding import Finding
from mlxctl.service.manager import ServiceStatus
from mlxd import __version__
from mlxd.config import Config
from mlxd.control_api import CatalogModel, ModelListing, Status

MAC = Machine(
    system="Darwin",
    release="15.1",
    processor="arm64",
    chip="Apple M3 Max",
    memory_bytes=64 * 2**30,
)
RUNNING = Status(
    running=True,
    pid=4711,
    version=__version__,
    socket="/h/run/mlxd.sock",
    config="/h/config.toml",
    settings="/h/settings.toml",
    models_dir="/h/models",
    adapters_dir="/h/adapters",
    log="/h/logs/mlxd.log",
    uptime_s=192.0,
    default_model="tiny",
    memory_limit_bytes=48 * 2**30,
)
MODELS = ModelListing(
    models=[CatalogModel(id="tiny", path="/h/models/tiny", size_bytes=1, architecture="llama")]
)
LAUNCHD = ServiceStatus(
    manager="launchd",
    label="gui/501/dev.mlxd",
    file="/h/dev.mlxd.plist",
    loaded=True,
    keeps_sockets=True,
    starts="at login",
    last_exit="0",
)
WELL = Facts(
    machine=MAC,
    config=Config(),
    service=ServiceStatus(manager="none"),
    pid=RUNNING.pid,
    status=RUNNING,
    models=MODELS,
)
STOPPED = replace(WELL, pid=None, status=None)
ASLEEP = replace(STOPPED, service=LAUNCHD)


def only(check: Callable[[Facts], Iterator[Finding]], facts: Facts) -> tuple[str, str, str | None]:
    """What the one finding of `check` says: state, message, fix."""
    (finding,) = check(facts)
    return finding.state, finding.message, finding.fix
