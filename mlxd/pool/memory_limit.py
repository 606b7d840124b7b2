"""How much memory this machine has for models."""

import ctypes
import os
import sys
from pathlib import Path

_LIMIT_OF_GROUP = Path("/sys/fs/cgroup/memory.max")
_LARGE_MAC = 36 * 2**30


def memory_for_models() -> int:
    """Give the bytes that all models together may take where the configuration does not say.

    On a Mac that is what Metal recommends: the system's `iogpu.wired_limit_mb`, or else two thirds
    of the memory, three quarters on machines with more than 36 GiB. Elsewhere it is three quarters
    of what this process may have.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if sys.platform == "darwin":
        # Only a Mac can run these lines; no test here does.
        wired = _sysctl("iogpu.wired_limit_mb") * 2**20
        return wired or (total * 3 // 4 if total > _LARGE_MAC else total * 2 // 3)
    return min(total, _limit_of_group(total)) * 3 // 4


def _limit_of_group(unlimited: int) -> int:
    """Give the limit of this process's control group (Linux, version 2), as in a container."""
    try:
        return int(_LIMIT_OF_GROUP.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return unlimited


def _sysctl(name: str) -> int:
    """Give a number the system knows, 0 where it knows none; see sysctlbyname(3)."""
    value = ctypes.c_uint64(0)
    size = ctypes.c_size_t(ctypes.sizeof(value))
    call = ctypes.CDLL(None).sysctlbyname
    failed = call(name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
    return 0 if failed else value.value
