"""`python -m mlxd.engine.sandbox_worker BYTES`: the process of a `Sandbox`.

It reads jobs from standard input and writes an answer to each, True and what the job returned. The
answer is False if the job took more than BYTES of memory.
"""

import ctypes
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from typing import Any

import msgspec

_PR_SET_PDEATHSIG = 1
_IDLE_SECONDS = 60.0
_LENGTH_BYTES = 4

Job = Callable[..., Any]


def main(memory_bytes: int) -> None:
    """Serve until standard input ends or nothing comes for a minute."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Imported before the limit counts.
    from mlxd.engine.request_template import render_alone
    from mlxd.engine.structured_output import compile_alone

    jobs: dict[str, Job] = {"template": render_alone, "grammar": compile_alone}
    _limit_memory(memory_bytes)
    _answer(b"")
    while data := _next():
        kind, seconds, job = msgspec.msgpack.decode(data)
        _limit_processor_time(seconds)
        try:
            answer = msgspec.msgpack.encode((True, jobs[kind](**job)))
        except MemoryError:
            answer = msgspec.msgpack.encode((False, None))
        _answer(answer)


def _limit_memory(memory_bytes: int) -> None:
    """Limit the address space; on a Mac, which does not, the other side of the pipe looks."""
    if sys.platform != "linux":
        return
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory_bytes,) * 2)


def _limit_processor_time(seconds: float) -> None:
    """End this process if a job takes much longer than its time and nobody else ends it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def _next() -> bytes:
    ready, _, _ = select.select([0], [], [], _IDLE_SECONDS)
    return _take(int.from_bytes(_take(_LENGTH_BYTES), "big")) if ready else b""


def _take(size: int) -> bytes:
    """Return the next `size` bytes, none at the end of the input."""
    data = bytearray()
    while len(data) < size:
        if not (more := os.read(0, size - len(data))):
            return b""
        data += more
    return bytes(data)


def _answer(data: bytes) -> None:
    view = memoryview(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    main(int(sys.argv[1]))
