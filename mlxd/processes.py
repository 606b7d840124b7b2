"""Processes: the environment of the daemon's children, memory that was freed, and exit statuses."""

import ctypes
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop  # which engines and downloads need not import

ENGINE_OPEN_FILES = 4096
"""How many open files mlx_lm needs to be allowed: it sets that limit when it is imported."""

_NAMES = frozenset(
    {
        *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"),
        # LD_PRELOAD chooses the library that computes.
        *("LD_LIBRARY_PATH", "LD_PRELOAD"),
        *("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "PYTHONHASHSEED"),
        *("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_MODULES_CACHE"),
    }
)
_BEGINNINGS = (
    *("LC_", "XDG_", "DYLD_", "MLX_", "METAL_", "MTL_", "OMP_", "OPENBLAS_", "VECLIB_", "RAYON_"),
    "__CF",  # the text encoding of a user of macOS
)
_M_MMAP_THRESHOLD = -3  # as in malloc.h
_LARGE_BYTES = 256 * 1024
_LET_GO_SECONDS = 0.5


def allowed(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a child needs to run and to compute: no keys, no tokens."""
    return {
        name: value
        for name, value in environ.items()
        if name in _NAMES or name.startswith(_BEGINNINGS)
    }


def keep_little_freed_memory() -> None:
    """Make malloc take large blocks from the system each time, and return them at once.

    On Linux only: glibc would otherwise keep them in its heap, where a later small block can keep
    all memory below it from being returned.
    """
    _call_malloc("mallopt", _M_MMAP_THRESHOLD, _LARGE_BYTES)


def return_freed_memory() -> None:
    """Return to the system the freed memory that malloc keeps; only glibc keeps much."""
    _call_malloc("malloc_trim", 0)


def return_freed_memory_soon(loop: "AbstractEventLoop") -> None:
    """Do that in a thread, once nothing refers to the request or connection that has just ended."""
    loop.call_later(_LET_GO_SECONDS, loop.run_in_executor, None, return_freed_memory)


def _call_malloc(name: str, *arguments: int) -> None:
    if sys.platform == "linux":
        function = getattr(ctypes.CDLL(None), name, None)  # musl has none
        if function is not None:
            function(*arguments)


def ending(status: int) -> str:
    """Return how a process ended, such as "was killed by SIGKILL", from `subprocess`'s status."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:  # most real-time signals have no name
        return f"was killed by signal {-status}"
