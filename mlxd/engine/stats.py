"""What an engine reports of itself: its memory, and how fast it generates."""

import ctypes
import os
import sys
import time
from collections import deque
from pathlib import Path

import mlx.core as mx

_STATM = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_RUSAGE_INFO_V0 = 0
_WINDOW_SECONDS = 5.0
_SLICE_SECONDS = 0.25


def memory_bytes() -> int:
    """Return the bytes that would be freed if this process ended; cheap enough for every `Ping`.

    That is what the system counts, and at least what MLX holds, its free buffers included.
    """
    held: int = mx.get_active_memory() + mx.get_cache_memory()
    return max(held, _footprint() if sys.platform == "darwin" else _resident())


def device_memory_bytes() -> int:
    """Return the bytes of GPU memory that Metal recommends to use, 0 without Metal."""
    return int(mx.device_info().get("max_recommended_working_set_size", 0))


class Speed:
    """The tokens generated in the last five seconds, counted in slices of 0.25 s."""

    def __init__(self) -> None:
        self._slices: deque[tuple[float, int]] = deque()

    def add(self, tokens: int) -> None:
        """Count tokens that have just been generated."""
        now = time.monotonic()
        if self._slices and now - self._slices[-1][0] < _SLICE_SECONDS:
            began, before = self._slices.pop()
            self._slices.append((began, before + tokens))
        else:
            self._drop_old(now)
            self._slices.append((now, tokens))

    def per_second(self) -> float:
        """Return the mean of the last seconds."""
        now = time.monotonic()
        self._drop_old(now)
        if not self._slices:
            return 0.0
        seconds = max(now - self._slices[0][0], _SLICE_SECONDS)
        return sum(tokens for _, tokens in self._slices) / seconds

    def _drop_old(self, now: float) -> None:
        while self._slices and now - self._slices[0][0] > _WINDOW_SECONDS:
            self._slices.popleft()


def _resident() -> int:
    """Return the resident set, 0 where the system does not report it."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


class _ResourceUsage(ctypes.Structure):
    """`struct rusage_info_v0` of <sys/resource.h>."""

    _fields_ = (
        ("uuid", ctypes.c_uint8 * 16),
        ("user_time", ctypes.c_uint64),
        ("system_time", ctypes.c_uint64),
        ("package_idle_wakeups", ctypes.c_uint64),
        ("interrupt_wakeups", ctypes.c_uint64),
        ("pageins", ctypes.c_uint64),
        ("wired_size", ctypes.c_uint64),
        ("resident_size", ctypes.c_uint64),
        ("physical_footprint", ctypes.c_uint64),
        ("start_time", ctypes.c_uint64),
        ("exit_time", ctypes.c_uint64),
    )


def _footprint() -> int:
    """Return what Activity Monitor shows as memory, 0 where the system does not report it.

    It is written from Apple's headers and can only be tested on a Mac.
    """
    usage = _ResourceUsage()
    proc_pid_rusage = ctypes.CDLL(None).proc_pid_rusage
    failed = proc_pid_rusage(os.getpid(), _RUSAGE_INFO_V0, ctypes.byref(usage))
    return 0 if failed else int(usage.physical_footprint)
