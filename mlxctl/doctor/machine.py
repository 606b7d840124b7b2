"""Platform and chip, Python, MLX, memory for models, and open files."""

import resource
import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import version

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, error, ok, warning
from mlxctl.errors import CommandFailed
from mlxctl.programs import run
from mlxctl.terminal import shown
from mlxd.processes import ENGINE_OPEN_FILES
from mlxd.units import size

_OLDEST_MACOS = 14
_MOST_OF_MEMORY = 0.9
_FILES_OF_THE_DAEMON = 128  # beside a connection for each request
_MLX_SECONDS = 8.0  # the first use of Metal after an upgrade compiles
_COMPUTE = "import mlx.core as mx; mx.eval(mx.ones(8) + 1); print(mx.default_device().type)"


def platform(facts: Facts) -> Iterator[Finding]:
    """MLX needs Apple silicon and macOS 14, or Linux."""
    machine = facts.machine
    if machine.system != "Darwin":
        name = f"{machine.system} {machine.release}, {machine.processor}"
        yield ok("platform", f"{name}: MLX runs on the CPU here")
        return
    name = f"macOS {machine.release}, {machine.chip or machine.processor}"
    major = machine.release.partition(".")[0]
    if machine.processor != "arm64" and not machine.translated:
        yield error("platform", f"{name}: MLX needs a Mac with Apple silicon")
    elif major.isdecimal() and int(major) < _OLDEST_MACOS:
        yield error("platform", f"{name}: MLX needs macOS {_OLDEST_MACOS}", "softwareupdate --list")
    else:
        yield ok("platform", name)


def python(facts: Facts) -> Iterator[Finding]:
    """The Python that mlxctl, and so mlxd, runs on."""
    found = ".".join(map(str, sys.version_info[:3]))
    machine = facts.machine
    if machine.translated:
        yield error(
            "python",
            f"{found} ({sys.executable}) is built for {machine.processor} and runs under "
            "Rosetta, without Metal",
            "install a Python for arm64, and mlxd in it",
        )
    else:
        yield ok("python", f"{found} for {machine.processor}, {shown(sys.executable)}")


def mlx(facts: Facts) -> Iterator[Finding]:
    """Whether MLX computes, and on a Mac on the GPU."""
    yield computes(sys.executable, on_mac=facts.machine.system == "Darwin")


def computes(python: str, *, on_mac: bool, seconds: float = _MLX_SECONDS) -> Finding:
    """Let `python` compute something with MLX: mlxctl itself imports no MLX."""
    try:
        done = run([python, "-P", "-c", _COMPUTE], seconds=seconds).demand()
    except CommandFailed as failure:
        return error("mlx", f"MLX cannot compute: {failure.message}", _reinstall(python))
    device = done.output.strip().rpartition(".")[2]
    text = f"mlx {version('mlx')}, mlx-lm {version('mlx-lm')}, on the {device}"
    if on_mac and device != "gpu":
        return warning("mlx", f"{text}: slow without Metal", _reinstall(python))
    return ok("mlx", text)


def memory(facts: Facts) -> Iterator[Finding]:
    """The memory limit for models against the machine's memory and what Metal may wire."""
    total = facts.machine.memory_bytes
    limit = (facts.config.models.memory_limit or 0) if facts.config else 0
    if facts.status is not None:
        limit = facts.status.memory_limit_bytes or limit
    wired = facts.machine.wired_limit_mb * 2**20
    if wired > total * _MOST_OF_MEMORY:
        yield warning(
            "memory",
            f"Metal may wire {size(wired)} of {size(total)} (iogpu.wired_limit_mb), which leaves "
            "little for the system",
            "sudo sysctl iogpu.wired_limit_mb=0",
        )
    if not limit:
        yield ok("memory", f"{size(total)}; models may use what the machine can spare")
        return
    use = f"models may use {size(limit)} of {size(total)}"
    fix = "lower models.memory_limit in config.toml, then: mlxctl restart"
    if limit > total:
        yield error("memory", f"{use}, more than there is", fix)
    elif limit > total * _MOST_OF_MEMORY:
        yield warning("memory", f"{use}: the system may have to swap", fix)
    elif wired and wired < limit:
        yield warning(
            "memory",
            f"{use}, but Metal may wire only {size(wired)} (iogpu.wired_limit_mb)",
            f"sudo sysctl iogpu.wired_limit_mb={limit // 2**20}  # until the Mac restarts",
        )
    else:
        yield ok("memory", use)


def open_files(facts: Facts) -> Iterator[Finding]:
    """Whether an engine may start, and the daemon open a connection for each request it accepts.

    It raises its own limit as far as allowed. The hard limit comes from what starts it: this shell,
    or a service manager, which was told of enough.
    """
    if facts.config is None or (facts.service and facts.service.label):
        return
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    queue = facts.config.server.max_queue
    needed = queue + _FILES_OF_THE_DAEMON
    if allowed == resource.RLIM_INFINITY:
        return
    if allowed < ENGINE_OPEN_FILES:
        message = f"this shell allows {allowed}, but an engine needs {ENGINE_OPEN_FILES}"
        yield error("open files", message, "mlxctl install")
    elif allowed < needed:
        message = f"this shell allows {allowed}, but server.max_queue = {queue} needs {needed}"
        yield warning("open files", message, "mlxctl install")


def _reinstall(python: str) -> str:
    if "/Cellar/" in python or "/opt/mlxd/" in python:
        return "brew reinstall mlxd"
    return f"{shlex.quote(python)} -m pip install --force-reinstall mlx-lm"
