"""An engine process from the daemon's side: spawn, handshake, demultiplex, abort, end.

Every request in flight is a `Generation`. Whatever ends the process fails all of them with
`EngineDied`, whose message says how it ended; what it printed is in the log.
"""

import asyncio
import contextlib
import signal
import socket
import sys
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
    ChoiceEvent,
    DaemonMessage,
    Delta,
    EngineMessage,
    Event,
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
    decode_engine_frame,
    encode_frame,
)
from mlxd.models.spawn import Spawned, log_output, spawn

ENGINE_COMMAND = (sys.executable, "-P", "-m", "mlxd.engine")
_STOP_GRACE = 5.0
_PING_SECONDS = 5.0
_BUSY_SECONDS = 60.0
_LAST_WORDS_SECONDS = 0.5
_FAILURES: dict[str, type[MlxdError]] = {
    "invalid_request": InvalidRequest,
    "context_length_exceeded": ContextLengthExceeded,
    "generation_failed": GenerationFailed,
}


def _nothing() -> None:
    """Do nothing."""


class Generation:
    """The events of one request in flight, to be read by one task.

    A request has one or more choices, each of them a sequence of the engine; their ids are in a
    row. `on_end` is called once the engine is done with all of them, even if events are still to
    be read.
    """

    def __init__(self, ids: range, abort: Callable[[int], None]) -> None:
        self._first = ids.start
        self._running = set(ids)
        self._abort = abort
        self._events: list[ChoiceEvent] = []
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._error: MlxdError | None = None
        self.on_end: Callable[[], None] = _nothing

    async def next_events(self) -> list[ChoiceEvent]:
        """Wait for events and give all that have come; an empty list means the end.

        Raises:
            MlxdError: when a sequence failed or the engine died.
        """
        while not self._events:
            if self._error is not None:
                raise self._error
            if self._ended:
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Abort the sequences that have not ended."""
        if not self._ended:
            self.end()
            for sequence in self._running:
                self._abort(sequence)

    def push(self, event: Event) -> None:
        """Take an event from the engine."""
        self._events.append((event.id - self._first, event))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def finish(self, event: Finished) -> None:
        """Take the last event of one sequence from the engine."""
        self.push(event)
        self._running.discard(event.id)
        if not self._running:
            self.end()

    def fail(self, sequence: int, error: MlxdError) -> None:
        """End with `error`, as that sequence has, and abort the others."""
        self._running.discard(sequence)
        if not self._ended:
            self.end(error)
            for other in self._running:
                self._abort(other)

    def end(self, error: MlxdError | None = None) -> None:
        """End here, with `error` if there is one."""
        if not self._ended:
            self._ended = True
            self.on_end()
        self._error = self._error or error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class EngineProcess:
    """One loaded model. Made by `start`, gone once `exited` is done, which then says how."""

    def __init__(self, name: str, spawned: Spawned, report: Callable[[float], None]) -> None:
        loop = asyncio.get_running_loop()
        self.pid = spawned.process.pid
        self.context_length = 0
        self.memory_bytes = 0
        self.exited: asyncio.Future[str] = loop.create_future()
        self._name = name
        self._process = spawned.process
        self._report = report
        self._transport: asyncio.Transport | None = None
        self._open: dict[int, Generation] = {}
        self._last_id = 0
        self._quiet_since = loop.time()
        self._disconnected: asyncio.Future[None] = loop.create_future()
        self._loaded: asyncio.Future[None] = loop.create_future()
        self._pongs: list[asyncio.Future[None]] = []
        self._fatal: str | None = None
        self._watcher = loop.create_task(self._watch(spawned.output))

    @classmethod
    async def start(
        cls,
        name: str,
        load: Load,
        report: Callable[[float], None],
        command: Sequence[str] = ENGINE_COMMAND,
    ) -> "EngineProcess":
        """Spawn an engine and load a model in it.

        Args:
            name: the model's id, for the log.
            load: what to load.
            report: called with the fraction of the load that is done.
            command: what to run; it finds its end of the socket as standard input.

        Raises:
            LoadFailed: says why there is no engine. A cancelled start leaves no process behind.
        """
        try:
            spawned = await spawn(command)
        except OSError as error:
            raise LoadFailed(f"no engine process can be started: {error}") from error
        engine = cls(name, spawned, report)
        try:
            loop = asyncio.get_running_loop()
            await loop.create_unix_connection(lambda: _Wire(engine), sock=spawned.connection)
            engine._send(load)
            await engine._loaded
        except BaseException:
            await engine.stop(grace=0)
            raise
        return engine

    @property
    def requests(self) -> int:
        """How many sequences are in flight."""
        return len(self._open)

    @property
    def connected(self) -> bool:
        """Whether it can be talked to; False is the beginning of its end."""
        return self._transport is not None

    def generate(self, requests: Sequence[GenerateRequest]) -> Generation:
        """Start a request, one sequence for each of its choices.

        Raises:
            EngineDied: when the process has ended already.
        """
        if self._transport is None:
            raise EngineDied(self._death())
        ids = range(self._last_id + 1, self._last_id + 1 + len(requests))
        self._last_id += len(requests)
        generation = Generation(ids, self._abort)
        if not self._open:
            self._quiet_since = asyncio.get_running_loop().time()
        for sequence, request in zip(ids, requests, strict=True):
            self._open[sequence] = generation
            self._send(Generate(sequence, request))
        return generation

    async def check(self) -> None:
        """Return when the engine's loop turns, or has turned lately with work at hand.

        An engine that has ended passes: the next request gets a new one.

        Raises:
            EngineDied: it is there and has not answered for 5 seconds, nor been heard of for 60
                where it has work: a step, which cannot be interrupted, may take long.
        """
        silence = asyncio.get_running_loop().time() - self._quiet_since
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
        self._quiet_since = asyncio.get_running_loop().time()
        for message in messages:
            match message:
                case Delta() | Reasoning() | ToolCall() | Started() | PrefillProgress():
                    if (generation := self._open.get(message.id)) is not None:
                        generation.push(message)
                case Finished():
                    if (generation := self._open.pop(message.id, None)) is not None:
                        generation.finish(message)
                case Failed():
                    if (generation := self._open.pop(message.id, None)) is not None:
                        error = _FAILURES[message.kind]
                        generation.fail(message.id, error(message.message, param=message.param))
                case Pong():
                    self.memory_bytes = message.memory_bytes
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
        logging_output = asyncio.get_running_loop().create_task(
            log_output(output, f"{self._name}[{self.pid}]")
        )
        await self._process.wait()
        # Both end with the process, unless it leaves one behind that has inherited them.
        await asyncio.wait([logging_output, self._disconnected], timeout=_LAST_WORDS_SECONDS)
        logging_output.cancel()
        death = self._death()
        if not self._loaded.done():
            self._loaded.set_exception(LoadFailed(f"{self._name} cannot be loaded: {death}"))
            self._loaded.exception()  # a cancelled load has nobody who retrieves it
        for generation in self._open.values():
            generation.end(EngineDied(death))
        self._open.clear()
        self._answer_pings(EngineDied(death))
        self.exited.set_result(death)

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
