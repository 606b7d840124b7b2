"""`python -m mlxd.engine.sandbox_worker BYTES`: the process of a `Sandbox`.

It reads jobs from standard input and runs each in a copy of itself, made by fork(), that ends with
the job: importing what jobs need takes a second, a copy some milliseconds. It answers each job with
True and what the job returned, or with False if the job took more than BYTES of memory, wrote too
much, crashed, or was stopped by an empty job.

Nothing that is imported here may start threads or use Apple's frameworks, because a copy could not
run then. On a Mac, that has not been tried yet.
"""

import contextlib
import ctypes
import gc
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from mlxd.engine.footprint import footprint

_PR_SET_PDEATHSIG = 1
_IDLE_SECONDS = 60.0
_LOOK_SECONDS = 0.05
_LENGTH_BYTES = 4
_READ_BYTES = 1024**2
_ANSWER_BYTES = 32 * 1024**2
_FAILURE = msgspec.msgpack.encode((False, None))

Job = Callable[..., Any]


def main(memory_bytes: int) -> None:
    """Run jobs until standard input ends or none arrives for a minute."""
    _end_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Imported once, for all copies.
    from mlxd.engine.request_template import render_alone
    from mlxd.engine.structured_output import compile_alone

    jobs: dict[str, Job] = {"template": render_alone, "grammar": compile_alone}
    gc.freeze()
    _write(1, _framed(b""))
    while (data := _next_job()) is not None:
        if data:  # an empty one stops a job, which has ended by itself
            _write(1, _answer(data, jobs, memory_bytes))


def _answer(data: bytes, jobs: dict[str, Job], memory_bytes: int) -> bytes:
    """Run a job in a copy of this process, and return its answer."""
    ours, theirs = os.pipe()
    if (child := os.fork()) == 0:
        os.close(ours)
        _run(data, jobs, memory_bytes, theirs)
    os.close(theirs)
    try:
        answer = _collect(child, ours, memory_bytes)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ours)
    is_whole = answer == _framed(answer[_LENGTH_BYTES:])
    return answer if is_whole else _framed(_FAILURE)


def _collect(child: int, pipe: int, memory_bytes: int) -> bytes:
    """Return what a job writes until it ends, is stopped or takes too much."""
    answer = bytearray()
    before = footprint(child)
    while True:
        ready, _, _ = select.select([pipe, 0], [], [], _LOOK_SECONDS)
        if 0 in ready:
            os.read(0, _LENGTH_BYTES)
            return b""
        if not ready and footprint(child) - before > memory_bytes:
            return b""
        if pipe in ready:
            if not (data := os.read(pipe, _READ_BYTES)):
                return bytes(answer)
            answer += data
            if len(answer) > _ANSWER_BYTES:
                return b""


def _run(data: bytes, jobs: dict[str, Job], memory_bytes: int, pipe: int) -> NoReturn:
    """Run a job in this copy of the process, and end it."""
    try:
        _end_with_parent()
        _limit_memory(memory_bytes)
        kind, seconds, job = msgspec.msgpack.decode(data)
        # A second limit, should this process outlive the one that waits for it.
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 2, resource.RLIM_INFINITY))
        with contextlib.suppress(MemoryError):
            _write(pipe, _framed(msgspec.msgpack.encode((True, jobs[kind](**job)))))
    finally:
        os._exit(0)


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit_memory(memory_bytes: int) -> None:
    """Limit the address space; macOS has no such limit, so there `_collect` measures instead."""
    if sys.platform != "linux":
        return
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory_bytes,) * 2)


def _next_job() -> bytes | None:
    """Return the next job, None at the end of the input or after an idle minute."""
    ready, _, _ = select.select([0], [], [], _IDLE_SECONDS)
    if not ready or (length := _take(_LENGTH_BYTES)) is None:
        return None
    return _take(int.from_bytes(length, "big"))


def _take(size: int) -> bytes | None:
    """Return the next `size` bytes, None at the end of the input."""
    data = bytearray()
    while len(data) < size:
        if not (more := os.read(0, size - len(data))):
            return None
        data += more
    return bytes(data)


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    main(int(sys.argv[1]))
