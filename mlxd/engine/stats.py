"""The memory that an engine reports."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx

from mlxd.engine.footprint import footprint
from mlxd.processes import return_freed_memory

_STATM = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def memory_bytes() -> int:
    """Return the bytes that would be freed if this process ended; cheap enough for every `Ping`.

    That is what the system counts, and at least what MLX holds, its free buffers included.
    """
    held: int = mx.get_active_memory() + mx.get_cache_memory()
    return max(held, footprint(os.getpid()) if sys.platform == "darwin" else _resident())


def give_memory_back() -> None:
    """Return to the system what was freed: MLX's buffers and what malloc keeps."""
    mx.clear_cache()
    return_freed_memory()


def device_memory_bytes() -> int:
    """Return the bytes of GPU memory that Metal recommends to use, 0 without Metal."""
    return int(mx.device_info().get("max_recommended_working_set_size", 0))


@contextmanager
def wired_weights() -> Iterator[None]:
    """Keep what is in memory now, the weights, from being swapped out until the block ends.

    mlx-lm wires as much as the whole machine allows, which has panicked macOS under pressure
    (mlx issue 3186), and memory that is wired when a process is killed is lost until a restart. So
    this wires what is used, and leaves nothing wired. Only a Mac can run it; no test here does.
    """
    if not mx.metal.is_available():
        yield
        return
    mx.set_wired_limit(min(mx.get_active_memory(), device_memory_bytes()))
    try:
        yield
    finally:
        mx.synchronize()
        mx.set_wired_limit(0)


def _resident() -> int:
    """Return the resident set, 0 where the system does not report it."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
