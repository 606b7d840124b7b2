"""What a run was made on: the machine, and the versions of everything that took part."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import peers

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("mlx", "mlx-lm", "mlxd")
_CPUINFO = Path("/proc/cpuinfo")


def describe(servers: list[str], before: Path | None) -> dict[str, str]:
    """Return facts about the machine and the versions, each in words.

    `servers` are names of those that took part; `before` is another checkout of mlxd.
    """
    facts = {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory_gb():.0f} GB",
        "system": platform.platform(),
        "load average at the start": ", ".join(f"{load:.1f}" for load in os.getloadavg()),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }
    facts["mlxd"] += f", commit {_commit(_ROOT)}"
    if before is not None:
        facts["before"] = f"commit {_commit(before)}"
    return facts | {name: peers.versions(name) for name in peers.PEERS if name in servers}


def _processor() -> str:
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string")
    for line in _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gb() -> float:
    if sys.platform == "darwin":
        return int(_output("sysctl", "-n", "hw.memsize")) / 1e9
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def _commit(folder: Path) -> str:
    commit = _output("git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*")
    return commit or "unknown"


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()
