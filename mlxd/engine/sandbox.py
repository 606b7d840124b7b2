"""A process of its own for what a request brought and nobody checked: templates and large grammars.

A template may compute for ever in one call into C, and a grammar may overflow the stack of the
library that compiles it. There neither time nor memory nor a crash reaches other requests. The
process is started when it is first needed, and ends when it has had nothing to do for a minute.
"""

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import msgspec

from mlxd.engine.stats import footprint

SANDBOX_BYTES = 512 * 1024**2
"""What a job may take besides what the process has at its start."""

_COMMAND = (sys.executable, "-P", "-m", "mlxd.engine.sandbox_worker")
_KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR")
_LENGTH_BYTES = 4
_START_SECONDS = 30.0
_LOOK_SECONDS = 0.05
_ANSWER_BYTES = 32 * 1024**2


class SandboxFailed(Exception):
    """A job ended its process: it crashed, or took more memory than it may."""


class Withdrawn(Exception):
    """Nobody waits for the job any more."""


def _nobody_left() -> bool:
    return False


class Sandbox:
    """Runs jobs one at a time, each within its time; the next one gets a new process if need be."""

    def __init__(self, memory_bytes: int = SANDBOX_BYTES) -> None:
        """Take how much memory a job may take."""
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._finish: Callable[[], object] | None = None

    def run(
        self,
        kind: str,
        job: dict[str, Any],
        seconds: float,
        is_withdrawn: Callable[[], bool] = _nobody_left,
    ) -> tuple[Any, float]:
        """Return the answer of `sandbox_worker` to a job of a `kind`, and the seconds it took.

        It must be called from a thread that stays: on Linux the process ends with the thread.

        Raises:
            TimeoutError: it takes longer than `seconds`; a start of the process does not count.
            SandboxFailed: it ended the process.
            Withdrawn: `is_withdrawn` returned True meanwhile.
        """
        data = msgspec.msgpack.encode((kind, seconds, job))
        with self._lock:
            for _ in range(2):  # it may just have ended by itself
                process = self._started(is_withdrawn)
                try:
                    return self._ask(process, data, seconds, is_withdrawn)
                except BrokenPipeError:
                    self._end()
                except BaseException:
                    self._end()
                    raise
        raise SandboxFailed

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _started(self, is_withdrawn: Callable[[], bool]) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        self._process = subprocess.Popen(
            [*_COMMAND, str(self._memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
            bufsize=0,
        )
        self._finish = weakref.finalize(self, _end, self._process)
        try:
            _read(self._process, _START_SECONDS, is_withdrawn, lambda: False)
        except (SandboxFailed, TimeoutError):
            self._end()
            raise OSError("the process for templates and grammars does not start") from None
        except BaseException:
            self._end()
            raise
        return self._process

    def _ask(
        self,
        process: subprocess.Popen[bytes],
        data: bytes,
        seconds: float,
        is_withdrawn: Callable[[], bool],
    ) -> tuple[Any, float]:
        began = time.monotonic()
        _write(process, len(data).to_bytes(_LENGTH_BYTES, "big") + data)
        before = footprint(process.pid)

        def takes_too_much() -> bool:
            return footprint(process.pid) - before > self._memory_bytes

        answer = _read(process, seconds, is_withdrawn, takes_too_much)
        fits, value = msgspec.msgpack.decode(answer)
        if not fits:
            raise SandboxFailed
        return value, time.monotonic() - began

    def _end(self) -> None:
        self._process = None
        if self._finish is not None:
            self._finish()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


class Trial:
    """What one request may do in a sandbox: any number of jobs, within `seconds` together."""

    def __init__(
        self,
        sandbox: Sandbox,
        seconds: float,
        is_withdrawn: Callable[[], bool] = _nobody_left,
    ) -> None:
        self._sandbox = sandbox
        self._left = seconds
        self._is_withdrawn = is_withdrawn

    def run(self, kind: str, job: dict[str, Any]) -> Any:
        """Return the answer to a job; raises what `Sandbox.run` raises."""
        answer, took = self._sandbox.run(kind, job, self._left, self._is_withdrawn)
        self._left = max(0.0, self._left - took)
        return answer


def _write(process: subprocess.Popen[bytes], data: bytes) -> None:
    if process.stdin is None:
        raise BrokenPipeError
    view = memoryview(data)
    while view:  # the process reads all of it before it begins
        view = view[process.stdin.write(view) :]


def _read(
    process: subprocess.Popen[bytes],
    seconds: float,
    is_withdrawn: Callable[[], bool],
    takes_too_much: Callable[[], bool],
) -> bytes:
    """Return the next answer of the process."""
    if process.stdout is None:
        raise SandboxFailed
    deadline = time.monotonic() + seconds
    answer = bytearray()
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if is_withdrawn():
            raise Withdrawn
        ready, _, _ = select.select([process.stdout], [], [], min(left, _LOOK_SECONDS))
        if not ready:
            if takes_too_much():
                raise SandboxFailed
            continue
        if not (data := os.read(process.stdout.fileno(), 1024**2)):
            raise SandboxFailed
        answer += data
        size = int.from_bytes(answer[:_LENGTH_BYTES], "big")
        if size > _ANSWER_BYTES:
            raise SandboxFailed
        if len(answer) >= _LENGTH_BYTES + size:
            return bytes(answer[_LENGTH_BYTES:])
