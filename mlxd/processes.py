"""What processes are given, keep, and end with.

The daemon's children get only a part of its environment.
"""

import ctypes
import signal
import sys
from collections.abc import Mapping

ENGINE_OPEN_FILES = 4096
"""How many files mlx_lm demands that a process may open: it sets that limit when it is imported."""

_NAMES = frozenset(
    {
        *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"),
        # With LD_PRELOAD people choose the library that computes.
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


def allowed(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a program needs to run and to compute: no keys, no tokens."""
    return {
        name: value
        for name, value in environ.items()
        if name in _NAMES or name.startswith(_BEGINNINGS)
    }


def keep_little_freed_memory() -> None:
    """Have malloc take what is large from the system each time, and return it at once.

    On Linux only: glibc would keep it in reach of what comes later, and small things in between
    would hold it for good.
    """
    _call_malloc("mallopt", _M_MMAP_THRESHOLD, _LARGE_BYTES)


def return_freed_memory() -> None:
    """Return to the system what malloc keeps of freed memory; only glibc keeps much."""
    _call_malloc("malloc_trim", 0)


def _call_malloc(name: str, *arguments: int) -> None:
    if sys.platform == "linux":
        function = getattr(ctypes.CDLL(None), name, None)  # musl has none
        if function is not None:
            function(*arguments)


def ending(status: int) -> str:
    """Return how a process ended, as the end of a sentence; `status` is that of `subprocess`."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:  # most real-time signals have no name
        return f"was killed by signal {-status}"
