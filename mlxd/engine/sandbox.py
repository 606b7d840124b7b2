"""A process of its own for what comes with a request and may do harm: templates and large grammars.

A template may compute for ever in one call into C, and a grammar may overflow the stack of the
library that compiles it. In a process of its own, neither delays other requests, takes their memory
or ends the engine. The process starts when it is first needed, and ends after an idle minute.
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

Check = Callable[[], None]
"""Called several times a second during long work; whatever it raises ends the work."""

SANDBOX_BYTES = 512 * 1024**2
"""Memory that a job may take, beyond what the process has at its start."""

_COMMAND = (sys.executable, "-P", "-m", "mlxd.engine.sandbox_worker")
_KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR")
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "OPENBLAS_NUM_THREADS": "1",  # it would start threads, which fork() does not copy
}
_LENGTH_BYTES = 4
_STOP = bytes(_LENGTH_BYTES)
_START_SECONDS = 30.0
_STOP_SECONDS = 2.0
_LOOK_SECONDS = 0.05


class SandboxFailed(Exception):
    """A job crashed, or took more memory than it may."""


def unchecked() -> None:
    """Let the work go on: the `Check` of work that nobody ends early."""


class Sandbox:
    """Runs jobs, each with a time limit; several threads may call it at the same time."""

    def __init__(self, memory_bytes: int = SANDBOX_BYTES) -> None:
        """Take how much memory a job may take."""
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._free: list[_Worker] = []

    def start(self) -> None:
        """Start a process for the next job, unless there is one, so that the job need not wait.

        Call this and `run` from a thread that lives on: on Linux, a process ends with the thread
        that started it.

        Raises:
            OSError: no process can be started.
        """
        worker = self._take()
        with self._lock:
            self._free.append(worker)

    def run(
        self,
        kind: str,
        job: dict[str, Any],
        seconds: float,
        check: Check = unchecked,
    ) -> tuple[Any, float]:
        """Run a job, and return its result and how many seconds it took.

        Args:
            kind: which of the functions in `sandbox_worker` to call.
            job: the arguments of that function.
            seconds: how long it may take; starting the process does not count.
            check: is called meanwhile; whatever it raises stops the job, and is raised here.

        Raises:
            TimeoutError: the job takes longer than `seconds`.
            SandboxFailed: it crashed, or took too much memory.
            OSError: no process can be started.
        """
        data = msgspec.msgpack.encode((kind, seconds, job))
        for _ in range(2):  # the process may just have ended by itself
            worker = self._take()
            try:
                answer = worker.ask(data, seconds, check)
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
        """End the processes that are not running a job."""
        with self._lock:
            workers, self._free = self._free, []
        for worker in workers:
            worker.end()

    def _take(self) -> "_Worker":
        with self._lock:
            while self._free:
                worker = self._free.pop()
                if worker.is_alive:
                    return worker
                worker.end()
        return _Worker(self._memory_bytes)

    def _give_back(self, worker: "_Worker") -> None:
        with self._lock:
            self._free.append(worker)


class _Worker:
    """One process of `sandbox_worker`, which runs one job after another."""

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
            self._read(_START_SECONDS, unchecked)
        except (EOFError, TimeoutError):
            self.end()
            raise OSError("the process for templates and grammars does not start") from None

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, data: bytes, seconds: float, check: Check) -> tuple[Any, float]:
        """Do what `Sandbox.run` does; raise EOFError or BrokenPipeError if the process ended."""
        began = time.monotonic()
        self._asked = True
        self._write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
        answer = self._read(seconds, check)
        self._asked = False
        succeeded, value = msgspec.msgpack.decode(answer)
        if not succeeded:
            raise SandboxFailed
        return value, time.monotonic() - began

    def stop(self) -> bool:
        """Stop the job, if it has not ended; return whether the process can run another one."""
        try:
            if self._asked:
                self._write(_STOP)
                self._read(_STOP_SECONDS, unchecked)  # the result, or that it was stopped
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

    def _read(self, seconds: float, check: Check) -> bytes:
        """Return the next answer; if this raises, the next call goes on with what has arrived."""
        if self._process.stdout is None:
            raise EOFError
        deadline = time.monotonic() + seconds
        received = self._received
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            check()
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


class SandboxSession:
    """The jobs of one request in a sandbox, which together may take `seconds`."""

    def __init__(self, sandbox: Sandbox, seconds: float, check: Check = unchecked) -> None:
        self._sandbox = sandbox
        self._left = seconds
        self._check = check

    def run(self, kind: str, job: dict[str, Any]) -> Any:
        """Return the answer to a job; raises what `Sandbox.run` raises."""
        answer, took = self._sandbox.run(kind, job, self._left, self._check)
        self._left = max(0.0, self._left - took)
        return answer
