"""The process of an engine: how it starts, what it prints, and how it ends."""

import asyncio
import contextlib
import functools
import logging
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlxd import paths
from mlxd.errors import EngineDied, LoadFailed
from mlxd.messages import Load
from mlxd.pool.engine_link import STOP_GRACE, EngineLink
from mlxd.processes import allowed, ending

ENGINE_COMMAND = (sys.executable, "-P", "-m", "mlxd.engine")
_LAST_WORDS_SECONDS = 0.5
_END_SECONDS = 10.0
_OUTPUT_LINES = 40

_log = logging.getLogger("mlxd.engine")


@dataclass(frozen=True)
class EngineExit:
    """How an engine ended: `at` in Unix seconds, and the last lines of its `output`.

    `explained` is True if the engine or the daemon gave the `cause`, and False if it is only the
    exit status.
    """

    at: float
    cause: str
    output: list[str]
    explained: bool


class EngineCrashed(EngineDied):
    """An engine died while it loaded a model."""

    def __init__(self, name: str, end: EngineExit) -> None:
        super().__init__(f"{name} cannot be loaded: {end.cause}")
        self.end = end


class EngineProcess:
    """One engine: `spawn` starts it without a model, `load` loads one, at once or later.

    `link` is for talking to it. `exited` is done once the process has ended and every request still
    open has failed; the result is how it ended. Not even SIGKILL ends a process that waits for a
    disk that hangs: after a while it is left to itself, as if it had ended.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        link: EngineLink,
        output: socket.socket,
        abandoned: asyncio.Event,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.pid = process.pid
        self.link = link
        self.exited: asyncio.Future[EngineExit] = loop.create_future()
        self._process = process
        self._abandoned = abandoned
        self._output: deque[str] = deque(maxlen=_OUTPUT_LINES)
        self._watching = loop.create_task(self._watch(output))

    @classmethod
    async def spawn(cls, command: Sequence[str] = ENGINE_COMMAND) -> "EngineProcess":
        """Start an engine, which imports what it needs; standard input is its end of the socket.

        Raises LoadFailed if the process cannot be started.
        """
        async with contextlib.AsyncExitStack() as undo:
            process, connection, output = await _start(command, undo)
            kill = functools.partial(_kill, process, abandoned := asyncio.Event())
            _, link = await asyncio.get_running_loop().create_unix_connection(
                lambda: EngineLink(kill), sock=connection
            )
            undo.pop_all()
        return cls(process, link, output, abandoned)

    async def load(self, name: str, load: Load, report: Callable[[float], None]) -> None:
        """Load a model, once. Whatever is raised, the process has ended by then.

        `name` is for the log and for errors, and `report` is called with the fraction that is done.
        An engine that hangs, as `load` says, is killed.

        Raises LoadFailed, or EngineCrashed if the process died.
        """
        try:
            await self.link.load(name, load, report)
        except EngineDied:
            end = self.exited.result()
            if end.explained:
                raise LoadFailed(f"{name} cannot be loaded: {end.cause}") from None
            raise EngineCrashed(name, end) from None
        except BaseException:
            await self.stop(grace=0)
            raise

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """Tell the engine to exit, and kill it after `grace` seconds; return when it has ended."""
        self.link.shut_down()
        if grace:
            await asyncio.wait([self.exited], timeout=grace)
        _kill(self._process, self._abandoned)
        await asyncio.wait([self.exited])

    async def _watch(self, output: socket.socket) -> None:
        """Wait until the process has ended and all it said is read; then tell everyone."""
        reading = asyncio.get_running_loop().create_task(self._read(output))
        ended = asyncio.create_task(self._process.wait())
        abandoned = asyncio.create_task(self._abandoned.wait())
        await asyncio.wait([ended, abandoned], return_when=asyncio.FIRST_COMPLETED)
        abandoned.cancel()
        if not ended.done():
            _log.error("the engine process %d does not end, though it was killed", self.pid)
        # Both end with the process, unless it leaves a child that has inherited them.
        await asyncio.wait([reading, self.link.closed], timeout=_LAST_WORDS_SECONDS)
        reading.cancel()
        explained = self.link.cause is not None
        cause = self.link.cause or f"the engine process {ending(self._process.returncode or 0)}"
        self.link.fail(cause)
        self.exited.set_result(EngineExit(time.time(), cause, list(self._output), explained))

    async def _read(self, output: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=output)
        with contextlib.closing(writer):
            while True:
                try:
                    line = await reader.readline()
                except ValueError:  # longer than asyncio's buffer, which dropped it
                    continue
                if not line:
                    return
                self._output.append(line.decode(errors="replace").rstrip())
                name, details = self.link.name, {"engine": self.link.name}
                _log.info(
                    "%s[%d]: %s", name, self.pid, self._output[-1], extra={"details": details}
                )


async def _start(
    command: Sequence[str], undo: contextlib.AsyncExitStack
) -> tuple[asyncio.subprocess.Process, socket.socket, socket.socket]:
    """Return a new process, and our ends of its standard input, a socket, and of its output."""
    with contextlib.ExitStack() as its:
        try:
            connection, its_connection = _socket_pair(undo, its)
            # Not a pipe: asyncio takes a process for alive while anybody holds its end of a pipe.
            output, its_output = _socket_pair(undo, its)
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=its_connection.fileno(),
                stdout=its_output.fileno(),
                stderr=its_output.fileno(),
                start_new_session=True,
                env=_environment(),
            )
        except OSError as error:
            raise LoadFailed(f"cannot start an engine process: {error}") from error
    undo.push_async_callback(process.wait)
    undo.callback(_kill, process, asyncio.Event())
    return process, connection, output


def _socket_pair(
    ours: contextlib.AsyncExitStack, its: contextlib.ExitStack
) -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a connection, each to be closed by its stack."""
    our_end, its_end = socket.socketpair()
    ours.enter_context(our_end).setblocking(False)
    return our_end, its.enter_context(its_end)


def engine_command(*, confined: bool) -> tuple[str, ...]:
    """Return the command of an engine, which if `confined` writes only to caches of its own."""
    return (*ENGINE_COMMAND, *map(str, _writable())) if confined else ENGINE_COMMAND


def _writable() -> list[Path]:
    modules = os.environ.get("HF_MODULES_CACHE")
    return [paths.prompts_dir(), Path(modules) if modules else _modules_dir()]


def _modules_dir() -> Path:
    """Where transformers copies the code of models that are trusted."""
    return paths.cache_dir() / "modules"


def _environment() -> dict[str, str]:
    """An engine reads its model folder and nothing else: no hub, no telemetry, no keys."""
    return {
        "HF_MODULES_CACHE": str(_modules_dir()),
        **allowed(os.environ),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


def _kill(process: asyncio.subprocess.Process, abandoned: asyncio.Event) -> None:
    """Kill a process; one that is still there after a while is `abandoned`."""
    if process.returncode is None:
        process.kill()
        asyncio.get_running_loop().call_later(_END_SECONDS, abandoned.set)
