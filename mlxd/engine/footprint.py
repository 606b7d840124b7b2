"""What a process takes of a Mac's memory, written from Apple's headers and only tested on a Mac."""

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
    """Return what Activity Monitor shows as a process's memory, 0 where the system does not say."""
    usage = _ResourceUsage()
    proc_pid_rusage = getattr(ctypes.CDLL(None), "proc_pid_rusage", None)
    if proc_pid_rusage is None:
        return 0
    failed = proc_pid_rusage(pid, _RUSAGE_INFO_V0, ctypes.byref(usage))
    return 0 if failed else int(usage.physical_footprint)
