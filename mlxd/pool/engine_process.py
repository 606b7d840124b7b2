"""An engine process from the daemon's side: spawn, handshake, demultiplex, abort, end.

Every request in flight is a `EngineRequest`. Whatever ends the process fails all of them with
`EngineDied`, whose message says how it ended; what it printed is in the log.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from mlxd.errors import (
    ContextLengthExceeded,
    EngineDied,
    GenerationFailed,
    InvalidRequest,
    LoadFailed,
    MlxdError,
)
from mlxd.messages import (
    PROTOCOL_VERSION,
    Abort,
    DaemonMessage,
    Delta,
    EngineMessage,
    Failed,
    Fatal,
    Finished,
    FrameSplitter,
    Generate,
    GenerateRequest,
    Hello,
    Load,
    LoadProgress,
    Ping,
    Pong,
    PrefillProgress,
    Ready,
    Reasoning,
    Shutdown,
    Started,
    ToolCall,
    Warm,
    decode_engine_frame,
    encode_frame,
)
from mlxd.pool.crashes import Crash, EngineCrashed
from mlxd.pool.engine_request import EngineRequest
from mlxd.pool.prefill import Prefill
from mlxd.pool.spawn import Spawned, read_output, spawn
from mlxd.pool.watchdog import Watchdog

ENGINE_COMMAND = (sys.executable, "-P", "-m", "mlxd.engine")
_STOP_GRACE = 5.0
_PING_SECONDS = 5.0
_BUSY_SECONDS = 60.0
_LAST_WORDS_SECONDS = 0.5
_OUTPUT_LINES = 40
_REFRESH_SECONDS = 1.0
_FAILURES: dict[str, type[MlxdError]] = {
    "invalid_request": InvalidRequest,
    "context_length_exceeded": ContextLengthExceeded,
    "generation_failed": GenerationFailed,
}


_log = logging.getLogger("mlxd.engine")


def _nothing(*_: object) -> None:
    """Do nothing."""


class EngineProcess:
    """One engine: made by `spawn` without a model, it loads one by `load`, at once or later.

    It is gone once `exited` is done, which then says how it ended.
    """

    def __init__(self, spawned: Spawned) -> None:
        loop = asyncio.get_running_loop()
        self.pid = spawned.process.pid
        self.context_length = 0
        self.memory_bytes = 0
        self.device_memory_bytes = 0
        self.tokens_per_second = 0.0
        self.on_figures: Callable[[], None] = _nothing
        self.exited: asyncio.Future[str] = loop.create_future()
        self.heard_at = loop.time()
        self._name = "spare"
        self._process = spawned.process
        self._report: Callable[[float], None] = _nothing
        self._transport: asyncio.Transport | None = None
        self._open: dict[int, EngineRequest] = {}
        self._last_id = 0
        self._refreshed_at = 0.0
        self._prefill = Prefill(0)
        self._watchdog = Watchdog(self, 0)
        self._disconnected: asyncio.Future[None] = loop.create_future()
        self._loaded: asyncio.Future[None] = loop.create_future()
        self._pongs: list[asyncio.Future[None]] = []
        self._output: deque[str] = deque(maxlen=_OUTPUT_LINES)
        self._fatal: str | None = None
        self._watcher = loop.create_task(self._watch(spawned.output))

    @classmethod
    async def spawn(cls, command: Sequence[str] = ENGINE_COMMAND) -> "EngineProcess":
        """Start an engine without a model; it prepares itself meanwhile.

        Args:
            command: what to run; it finds its end of the socket as standard input.

        Raises:
            LoadFailed: there can be no process.
        """
        try:
            spawned = await spawn(command)
        except OSError as error:
            raise LoadFailed(f"no engine process can be started: {error}") from error
        engine = cls(spawned)
        try:
            loop = asyncio.get_running_loop()
            await loop.create_unix_connection(lambda: _Wire(engine), sock=spawned.connection)
        except BaseException:
            await engine.stop(grace=0)
            raise
        return engine

    async def load(
        self,
        name: str,
        load: Load,
        report: Callable[[float], None],
        hang_timeout: float = 0.0,
    ) -> None:
        """Load a model, once.

        Args:
            name: the model's id, for the log.
            load: what to load.
            report: called with the fraction of the load that is done.
            hang_timeout: how many seconds of silence, while there is work, end it; 0 is none.

        Raises:
            LoadFailed: it cannot be loaded.
            EngineCrashed: the process has died.

        Whatever is raised, the process has ended then.
        """
        self._name, self._report = name, report
        self._prefill = Prefill(load.prompt_concurrency * load.prefill_step_size)
        self._watchdog = Watchdog(self, hang_timeout)
        self.heard_at = asyncio.get_running_loop().time()
        try:
            self._send(load)
            self._watchdog.wake()
            await self._loaded
        except BaseException:
            await self.stop(grace=0)
            raise

    @property
    def loading(self) -> bool:
        """Whether its model is not there yet."""
        return not self._loaded.done()

    @property
    def prefill_seconds(self) -> float:
        """How many seconds its step may take for the prompts it processes."""
        return self._prefill.step_seconds()

    def crash(self) -> Crash:
        """Give how it ended, and the last that it said."""
        return Crash(time.time(), self._death(), list(self._output))

    @property
    def requests(self) -> int:
        """How many sequences are in flight."""
        return len(self._open)

    @property
    def connected(self) -> bool:
        """Whether it can be talked to; False is the beginning of its end."""
        return self._transport is not None

    def generate(self, requests: Sequence[GenerateRequest]) -> EngineRequest:
        """Start a request, one sequence for each of its choices.

        Raises:
            EngineDied: when the process has ended already.
        """
        if self._transport is None:
            raise EngineDied(self._death())
        ids = range(self._last_id + 1, self._last_id + 1 + len(requests))
        self._last_id += len(requests)
        generation = EngineRequest(ids, self._abort)
        if not self._open:
            self.heard_at = asyncio.get_running_loop().time()
        for sequence, request in zip(ids, requests, strict=True):
            self._open[sequence] = generation
            self._send(Generate(sequence, request))
        self._watchdog.wake()
        return generation

    async def check(self) -> None:
        """Return when the engine's loop turns, or has turned lately with work at hand.

        An engine that has ended passes: the next request gets a new one.

        Raises:
            EngineDied: it is there and has not answered for 5 seconds, nor been heard of for 60
                where it has work: a step, which cannot be interrupted, may take long.
        """
        silence = asyncio.get_running_loop().time() - self.heard_at
        if self._open and silence < _BUSY_SECONDS:
            return
        try:
            with contextlib.suppress(EngineDied):
                await self.ping(_PING_SECONDS)
        except TimeoutError:
            raise EngineDied(f"the engine of {self._name} does not answer") from None

    async def ping(self, seconds: float) -> None:
        """Wait until the engine's loop has turned, which also refreshes `memory_bytes`.

        Raises:
            EngineDied: it has ended.
            TimeoutError: it does not answer in `seconds`.
        """
        if self._transport is None:
            raise EngineDied(self._death())
        pong = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self._send(Ping())
        async with asyncio.timeout(seconds):
            await pong

    def refresh(self) -> None:
        """Ask for its figures, without waiting, unless that was done a moment ago.

        `on_figures` is called when they have come.
        """
        now = asyncio.get_running_loop().time()
        if now - self._refreshed_at > _REFRESH_SECONDS:
            self._refreshed_at = now
            self._send(Ping())

    async def stop(self, grace: float = _STOP_GRACE) -> None:
        """End the process: politely, then after `grace` seconds for certain."""
        self._fatal = self._fatal or "the engine was stopped"
        if self._transport is not None:
            self._send(Shutdown())
            self._transport.close()
        if grace:
            await asyncio.wait([self.exited], timeout=grace)
        self._kill()
        await asyncio.wait([self.exited])

    def connect(self, transport: asyncio.Transport) -> None:
        """The socket is ours to write to."""
        self._transport = transport

    def received(self, messages: list[EngineMessage]) -> None:
        """Hand out the messages of one frame."""
        now = asyncio.get_running_loop().time()
        silence, self.heard_at = now - self.heard_at, now
        for message in messages:
            match message:
                case Delta() | Reasoning() | ToolCall() | Started() | PrefillProgress():
                    self._prefill.note(message, silence)
                    if (generation := self._open.get(message.id)) is not None:
                        generation.push(message)
                case Finished():
                    self._prefill.note(message, silence)
                    if (generation := self._open.pop(message.id, None)) is not None:
                        generation.finish(message)
                case Failed():
                    self._prefill.note(message, silence)
                    if (generation := self._open.pop(message.id, None)) is not None:
                        error = _FAILURES[message.kind]
                        generation.fail(message.id, error(message.message, param=message.param))
                case Warm():
                    self.memory_bytes = message.memory_bytes
                case Pong():
                    self.memory_bytes = message.memory_bytes
                    self.tokens_per_second = message.tokens_per_second
                    self.on_figures()
                    self._answer_pings(None)
                case LoadProgress():
                    self._report(message.fraction)
                case Hello():
                    if message.protocol_version != PROTOCOL_VERSION:
                        self.reject(
                            f"it speaks protocol {message.protocol_version}, the daemon "
                            f"{PROTOCOL_VERSION}: restart the daemon"
                        )
                case Ready() if self._fatal is None:
                    self.context_length = message.context_length
                    self.memory_bytes = message.memory_bytes
                    self.device_memory_bytes = message.device_memory_bytes
                    if not self._loaded.done():
                        self._loaded.set_result(None)
                case Fatal():
                    self._fatal = message.message

    def reject(self, reason: str) -> None:
        """Kill an engine that cannot be talked to."""
        self._fatal = reason
        self._kill()

    def disconnect(self) -> None:
        """The socket is gone; so must the process be soon."""
        self._transport = None
        self._disconnected.set_result(None)
        asyncio.get_running_loop().call_later(_STOP_GRACE, self._kill)

    async def _watch(self, output: socket.socket) -> None:
        """Wait until the process ends and has been heard out, then tell everyone who waits."""
        logging_output = asyncio.get_running_loop().create_task(read_output(output, self._said))
        await self._process.wait()
        # Both end with the process, unless it leaves one behind that has inherited them.
        await asyncio.wait([logging_output, self._disconnected], timeout=_LAST_WORDS_SECONDS)
        logging_output.cancel()
        self._watchdog.sleep()
        death = self._death()
        if not self._loaded.done():
            self._loaded.set_exception(self._load_error(death))
            self._loaded.exception()  # a cancelled load has nobody who retrieves it
        for generation in self._open.values():
            generation.end(EngineDied(death))
        self._open.clear()
        self._answer_pings(EngineDied(death))
        self.exited.set_result(death)

    def _load_error(self, death: str) -> MlxdError:
        if self._fatal is None:
            return EngineCrashed(self._name, self.crash())
        return LoadFailed(f"{self._name} cannot be loaded: {death}")

    def _said(self, line: str) -> None:
        self._output.append(line)
        details = {"engine": self._name}
        _log.info("%s[%d]: %s", self._name, self.pid, line, extra={"details": details})

    def _answer_pings(self, error: EngineDied | None) -> None:
        for pong in self._pongs:
            if pong.done():
                continue
            if error is None:
                pong.set_result(None)
            else:
                pong.set_exception(error)
        self._pongs.clear()

    def _kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    def _death(self) -> str:
        """One line on how the process ended."""
        if self._fatal is not None:
            return self._fatal
        status = self._process.returncode
        if status is None:
            return "the engine process has closed its socket"
        if status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        else:
            how = f"exited with status {status}"
        return f"the engine process {how}"

    def _abort(self, request_id: int) -> None:
        if self._transport is not None:
            self._send(Abort(request_id))

    def _send(self, message: DaemonMessage) -> None:
        if self._transport is not None:
            self._transport.write(encode_frame([message]))


class _Wire(asyncio.Protocol):
    """Bytes to messages."""

    def __init__(self, engine: EngineProcess) -> None:
        self._engine = engine
        self._splitter = FrameSplitter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._engine.connect(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        try:
            for payload in self._splitter.feed(data):
                self._engine.received(decode_engine_frame(payload))
        except (ValueError, msgspec.DecodeError) as error:
            self._engine.reject(f"it sent what the daemon cannot read: {error}")

    def connection_lost(self, _error: Exception | None) -> None:
        self._engine.disconnect()
