"""Platform and chip, Python, and how much memory the models may take."""

import sys
from collections.abc import Iterator

from mlxctl.doctor.finding import Finding, bad, good, warning
from mlxctl.doctor.situation import Situation
from mlxctl.text import size

_OLDEST_MACOS = 14
_MOST_OF_MEMORY = 0.9


def platform(situation: Situation) -> Iterator[Finding]:
    """MLX wants Apple silicon and macOS 14, or Linux."""
    machine = situation.machine
    name = f"{machine.system} {machine.release}, {machine.processor}"
    if machine.system == "Linux":
        yield good("platform", f"{name}: MLX runs on the CPU here")
        return
    if machine.system != "Darwin":
        yield bad("platform", f"{name}: mlxd runs on macOS and Linux")
        return
    name = f"macOS {machine.release}, {machine.chip or machine.processor}"
    major = machine.release.partition(".")[0]
    if machine.processor != "arm64":
        if machine.chip.startswith("Apple"):
            yield bad(
                "platform",
                f"{name}: this Python is made for Intel and runs under Rosetta, without Metal",
                "install a Python for arm64, and mlxd in it",
            )
        else:
            yield bad("platform", f"{name}: MLX needs a Mac with Apple silicon")
    elif major.isdecimal() and int(major) < _OLDEST_MACOS:
        yield bad("platform", f"{name}: MLX needs macOS {_OLDEST_MACOS}", "softwareupdate --list")
    else:
        yield good("platform", name)


def python(_situation: Situation) -> Iterator[Finding]:
    """The Python that mlxctl, and so mlxd, runs on."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield good("python", f"{version}, {sys.executable}")


def memory(situation: Situation) -> Iterator[Finding]:
    """The limit of all models against the machine, and what Metal may hold."""
    total = situation.machine.memory_bytes
    limit = situation.config.models.memory_limit if situation.config else 0
    if situation.status is not None:
        limit = situation.status.memory_limit_bytes or limit
    if not limit:
        yield good("memory", f"{size(total)}; models may take what the machine can spare")
        return
    of = f"models may take {size(limit)} of {size(total)}"
    wired = situation.machine.wired_limit_mb * 2**20
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
