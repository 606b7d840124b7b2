"""The memory of a process on a Mac, from proc_pid_rusage(); only a Mac can test it."""

import ctypes

_RUSAGE_INFO_V0 = 0


class _ResourceUsage(ctypes.Structure):
    """`struct rusage_info_v0` of <sys/resource.h>."""

    _fields_ = (
        ("uuid", ctypes.c_uint8 * 16),
        ("before", ctypes.c_uint64 * 7),  # times, wake-ups, page-ins, wired and resident size
        ("physical_footprint", ctypes.c_uint64),
        ("after", ctypes.c_uint64 * 2),  # when it started and ended
    )


def footprint(pid: int) -> int:
    """Return a process's memory in bytes, as Activity Monitor shows it; 0 on other systems."""
    usage = _ResourceUsage()
    proc_pid_rusage = getattr(ctypes.CDLL(None), "proc_pid_rusage", None)
    if proc_pid_rusage is None:
        return 0
    failed = proc_pid_rusage(pid, _RUSAGE_INFO_V0, ctypes.byref(usage))
    return 0 if failed else int(usage.physical_footprint)
