"""Platform and chip, Python, MLX, and memory for models."""

import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import version

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, error, ok, warning
from mlxctl.errors import CommandFailed
from mlxctl.programs import run
from mlxctl.terminal import shown
from mlxd.units import size

_MOST_OF_MEMORY = 0.9
_MLX_SECONDS = 8.0  # the first use of Metal after an upgrade compiles
_COMPUTE = "import mlx.core as mx; mx.eval(mx.ones(8) + 1); print(mx.default_device().type)"


def platform(facts: Facts) -> Iterator[Finding]:
    """What MLX runs on."""
    machine = facts.machine
    if machine.system == "Darwin":
        yield ok("platform", f"macOS {machine.release}, {machine.chip or machine.processor}")
    else:
        name = f"{machine.system} {machine.release}, {machine.processor}"
        yield ok("platform", f"{name}: MLX runs on the CPU here")


def python(facts: Facts) -> Iterator[Finding]:
    """The Python that mlxctl, and so mlxd, runs on."""
    found = ".".join(map(str, sys.version_info[:3]))
    yield ok("python", f"{found} for {facts.machine.processor}, {shown(sys.executable)}")


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
    """The memory limit for models against the machine's memory."""
    total = facts.machine.memory_bytes
    limit = (facts.config.models.memory_limit or 0) if facts.config else 0
    if facts.status is not None:
        limit = facts.status.memory_limit_bytes or limit
    if not limit:
        yield ok("memory", f"{size(total)}; models may use what the machine can spare")
        return
    use = f"models may use {size(limit)} of {size(total)}"
    fix = "lower models.memory_limit in config.toml, then: mlxctl restart"
    if limit > total:
        yield error("memory", f"{use}, more than there is", fix)
    elif limit > total * _MOST_OF_MEMORY:
        yield warning("memory", f"{use}: the system may have to swap", fix)
    else:
        yield ok("memory", use)


def _reinstall(python: str) -> str:
    if "/Cellar/" in python or "/opt/mlxd/" in python:
        return "brew reinstall mlxd"
    return f"{shlex.quote(python)} -m pip install --force-reinstall mlx-lm"
