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

SANDBOX_BYTES = 512 * 1024**2
"""What a job may take besides what the process has at its start."""

_COMMAND = (sys.executable, "-P", "-m", "mlxd.engine.sandbox_worker")
_KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR")
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "OPENBLAS_NUM_THREADS": "1",  # which thus starts no threads
}
_LENGTH_BYTES = 4
_STOP = bytes(_LENGTH_BYTES)
_START_SECONDS = 30.0
_STOP_SECONDS = 2.0
_LOOK_SECONDS = 0.05


class SandboxFailed(Exception):
    """A job ended its process: it crashed, or took more memory than it may."""


class Withdrawn(Exception):
    """Nobody waits for the job any more."""


class Postponed(Exception):
    """The job takes long, and others wait: it is to be tried again later."""


def _nobody_left() -> bool:
    return False


class Sandbox:
    """Runs jobs, each within its time; each thread that calls has a process for it."""

    def __init__(self, memory_bytes: int = SANDBOX_BYTES) -> None:
        """Take how much memory a job may take."""
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._free: list[_Worker] = []

    def start(self) -> None:
        """Have a process for the next job, which thus need not wait for its start.

        It must be called, as `run`, from a thread that stays: on Linux a process ends with the
        thread that started it. Raises OSError if that is impossible.
        """
        worker = self._take()
        with self._lock:
            self._free.append(worker)

    def run(
        self,
        kind: str,
        job: dict[str, Any],
        seconds: float,
        is_withdrawn: Callable[[], bool] = _nobody_left,
    ) -> tuple[Any, float]:
        """Return the answer of `sandbox_worker` to a job of a `kind`, and the seconds it took.

        What `is_withdrawn` raises meanwhile stops the job, too.

        Raises:
            TimeoutError: it takes longer than `seconds`; a start of the process does not count.
            SandboxFailed: it crashed, or took too much memory.
            Withdrawn: `is_withdrawn` returned True meanwhile.
            OSError: there is no process for it.
        """
        data = msgspec.msgpack.encode((kind, seconds, job))
        for _ in range(2):  # the process may just have ended by itself
            worker = self._take()
            try:
                answer = worker.ask(data, seconds, is_withdrawn)
            except (BrokenPipeError, EOFError):
                worker.end()
                continue
            except BaseException:
                if worker.stop():
                    self._give_back(worker)
                raise
            self._give_back(worker)
            return answer
        raise SandboxFailed

    def close(self) -> None:
        """End the processes that have no job."""
        with self._lock:
            workers, self._free = self._free, []
        for worker in workers:
            worker.end()

    def _take(self) -> "_Worker":
        with self._lock:
            while self._free:
                worker = self._free.pop()
                if worker.lives:
                    return worker
                worker.end()
        return _Worker(self._memory_bytes)

    def _give_back(self, worker: "_Worker") -> None:
        with self._lock:
            self._free.append(worker)


class _Worker:
    """One process of `sandbox_worker`, which answers each job once."""

    def __init__(self, memory_bytes: int) -> None:
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        self._process = subprocess.Popen(
            [*_COMMAND, str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, **_ENVIRONMENT},
            bufsize=0,
        )
        self._received = bytearray()
        self._asked = False
        self.end = weakref.finalize(self, _end, self._process)
        try:
            self._read(_START_SECONDS, _nobody_left)
        except (EOFError, TimeoutError):
            self.end()
            raise OSError("the process for templates and grammars does not start") from None

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def ask(
        self, data: bytes, seconds: float, is_withdrawn: Callable[[], bool]
    ) -> tuple[Any, float]:
        """Return the answer to a job, as `Sandbox.run` does; EOFError if the process ended."""
        began = time.monotonic()
        self._asked = True
        self._write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
        answer = self._read(seconds, is_withdrawn)
        self._asked = False
        fits, value = msgspec.msgpack.decode(answer)
        if not fits:
            raise SandboxFailed
        return value, time.monotonic() - began

    def stop(self) -> bool:
        """Stop the job, if it has not ended; return whether the process can take another."""
        try:
            if self._asked:
                self._write(_STOP)
                self._read(
                    _STOP_SECONDS, _nobody_left
                )  # what it had to say, or that it was stopped
                self._asked = False
        except (OSError, EOFError):
            self.end()
        return not self._asked

    def _write(self, data: bytes) -> None:
        if self._process.stdin is None:
            raise BrokenPipeError
        view = memoryview(data)
        while view:  # the process reads all of it before it begins
            view = view[self._process.stdin.write(view) :]

    def _read(self, seconds: float, is_withdrawn: Callable[[], bool]) -> bytes:
        """Return the next answer of the process; what has come of it stays for the next call."""
        if self._process.stdout is None:
            raise EOFError
        deadline = time.monotonic() + seconds
        received = self._received
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if is_withdrawn():
                raise Withdrawn
            wait = min(left, _LOOK_SECONDS)
            if not select.select([self._process.stdout], [], [], wait)[0]:
                continue
            if not (data := os.read(self._process.stdout.fileno(), 1024**2)):
                raise EOFError
            received += data
            size = int.from_bytes(received[:_LENGTH_BYTES], "big")
            if len(received) >= _LENGTH_BYTES and len(received) == _LENGTH_BYTES + size:
                answer = bytes(received[_LENGTH_BYTES:])
                received.clear()
                return answer


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
