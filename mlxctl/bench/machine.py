"""The machine that a benchmark ran on, in words."""

import os
import platform
import sys
from pathlib import Path

from mlxd import sysctl

_CPUINFO = Path("/proc/cpuinfo")


def describe_machine() -> str:
    """Return the processor, its cores and the memory, such as "Apple M4 Max, 16 cores, 64 GB"."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{_processor()}, {os.cpu_count()} cores, {memory_bytes / 1e9:.0f} GB"


def _processor() -> str:
    if sys.platform == "darwin":
        return sysctl.text("machdep.cpu.brand_string") or platform.machine()
    for line in _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
