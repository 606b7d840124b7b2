"""Platform and chip, Python, how much memory the models may take, and how many files are open."""

import resource
import sys
from collections.abc import Iterator

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, bad, good, warning
from mlxctl.terminal import shown
from mlxd.units import size

OLDEST_PYTHON = (3, 11)
"""As `requires-python` of pyproject.toml says; pip can be told to ignore that."""

_OLDEST_MACOS = 14
_MOST_OF_MEMORY = 0.9
_FILES_OF_THE_DAEMON = 128  # beside a connection for each request


def platform(situation: Facts) -> Iterator[Finding]:
    """MLX wants Apple silicon and macOS 14, or Linux."""
    machine = situation.machine
    if machine.system == "Linux":
        name = f"Linux {machine.release}, {machine.processor}"
        yield good("platform", f"{name}: MLX runs on the CPU here")
        return
    if machine.system != "Darwin":
        name = f"{machine.system} {machine.release}, {machine.processor}"
        yield bad("platform", f"{name}: mlxd runs on macOS and Linux")
        return
    name = f"macOS {machine.release}, {machine.chip or machine.processor}"
    major = machine.release.partition(".")[0]
    if machine.processor != "arm64" and not machine.translated:
        yield bad("platform", f"{name}: MLX needs a Mac with Apple silicon")
    elif major.isdecimal() and int(major) < _OLDEST_MACOS:
        yield bad("platform", f"{name}: MLX needs macOS {_OLDEST_MACOS}", "softwareupdate --list")
    else:
        yield good("platform", name)


def python(situation: Facts) -> Iterator[Finding]:
    """The Python that mlxctl, and so mlxd, runs on."""
    version = ".".join(map(str, sys.version_info[:3]))
    machine = situation.machine
    if machine.translated:
        yield bad(
            "python",
            f"{version} ({sys.executable}) is made for {machine.processor} and runs under "
            "Rosetta, without Metal",
            "install a Python for arm64, and mlxd in it",
        )
    elif sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        yield bad(
            "python",
            f"{version} ({sys.executable}): mlxd needs {oldest} or newer",
            f"install Python {oldest} or newer, and mlxd in it",
        )
    else:
        yield good("python", f"{version} for {machine.processor}, {shown(sys.executable)}")


def memory(situation: Facts) -> Iterator[Finding]:
    """The limit of all models against the machine, and what Metal may hold."""
    total = situation.machine.memory_bytes
    limit = (situation.config.models.memory_limit or 0) if situation.config else 0
    if situation.status is not None:
        limit = situation.status.memory_limit_bytes or limit
    wired = situation.machine.wired_limit_mb * 2**20
    if wired > total * _MOST_OF_MEMORY:
        yield warning(
            "memory",
            f"Metal may hold {size(wired)} of {size(total)} (iogpu.wired_limit_mb), which leaves "
            "the system little",
            "sudo sysctl iogpu.wired_limit_mb=0",
        )
    if not limit:
        yield good("memory", f"{size(total)}; models may take what the machine can spare")
        return
    of = f"models may take {size(limit)} of {size(total)}"
    mend = "lower models.memory_limit in config.toml, then: mlxctl restart"
    if limit > total:
        yield bad("memory", f"{of}, more than there is", mend)
    elif limit > total * _MOST_OF_MEMORY:
        yield warning("memory", f"{of}: the system may have to swap", mend)
    elif wired and wired < limit:
        megabytes = limit // 2**20
        yield warning(
            "memory",
            f"{of}, but Metal may hold {size(wired)} (iogpu.wired_limit_mb)",
            f"sudo sysctl iogpu.wired_limit_mb={megabytes}  # until the next start of the Mac",
        )
    else:
        yield good("memory", of)


def open_files(situation: Facts) -> Iterator[Finding]:
    """Whether the daemon may hold a connection for each request that it accepts.

    It raises its own limit as far as it may, which is what it has from whoever starts it: this
    shell, or a service manager that was told of enough.
    """
    if situation.config is None or (situation.service and situation.service.label):
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = situation.config.server.max_queue + _FILES_OF_THE_DAEMON
    if most != resource.RLIM_INFINITY and most < wanted:
        yield warning(
            "open files",
            f"this shell allows {most}, and server.max_queue = "
            f"{situation.config.server.max_queue} needs {wanted}",
            "mlxctl install",
        )
