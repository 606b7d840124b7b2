"""The link to an engine: what the daemon asks of it, and the events of each request.

A link has one state. In `SPARE` the engine waits for a model, in `LOADING` it loads one, in `READY`
it answers requests. In `ENDING` it is asked for nothing more: it was stopped, reported a fatal
error, sent what cannot be read, or closed its socket. Its requests fail when the process has ended,
which tells why.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import cast

import msgspec

from mlxd import errors, messages
from mlxd.errors import EngineDied, MlxdError
from mlxd.frames import (
    FrameSplitter,
    FrameTooLarge,
    decode_engine_frame,
    encode_frame,
    generate_messages,
)
from mlxd.generate_request import GenerateRequest
from mlxd.messages import ChoiceEvent, Event
from mlxd.pool.watchdog import PendingPrompts, Watchdog

STOP_GRACE = 5.0
_REFRESH_SECONDS = 1.0

_ERRORS: dict[str, type[MlxdError]] = {
    "invalid_request": errors.InvalidRequest,
    "context_length_exceeded": errors.ContextLengthExceeded,
    "insufficient_memory": errors.InsufficientMemory,
    "generation_failed": errors.GenerationFailed,
}


class LinkState(Enum):
    """How far an engine is."""

    SPARE = auto()
    LOADING = auto()
    READY = auto()
    ENDING = auto()


class EngineLink(asyncio.Protocol):
    """The daemon's end of the socket to one engine, whose process `kill` ends.

    `memory_bytes`, `cache_bytes`, `prompt_cache_bytes`, `device_memory_bytes`, `tokens_per_second`,
    `batched`, `context_fits` and `kv_bits` are what the engine last reported: while it has requests
    it is asked once a second. `on_figures` is called when it answers. `budget` is how many bytes it
    may take in all, 0 before it was told. `heard_at` is the loop's time when the engine last sent
    something, or got work after it had none. `cause` says why the state is `ENDING`, if that is
    known before the process has ended. `closed` is done when the socket is. `answered` is whether a
    request has ended well, `ended_by_request` whether one that was on trial ended the process.
    """

    def __init__(self, kill: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self.name = "spare"
        self.state = LinkState.SPARE
        self.cause: str | None = None
        self.memory_bytes = self.device_memory_bytes = 0
        self.cache_bytes = self.prompt_cache_bytes = 0
        self.batched = True
        self.context_fits: int | None = None
        self.kv_bits = 0
        self.budget = 0
        self.tokens_per_second = 0.0
        self.on_figures: Callable[[], None] = _nothing
        self.heard_at = loop.time()
        self.answered = self.ended_by_request = False
        self.closed: asyncio.Future[None] = loop.create_future()
        self._kill_process = kill
        self._splitter = FrameSplitter()
        self._report: Callable[[float], None] = _nothing
        self._loaded: asyncio.Future[None] = loop.create_future()
        self._watchdog = Watchdog(self, 0, PendingPrompts(0))
        self._requests: dict[int, EngineRequest] = {}
        self._last_id = 0
        self._pongs: list[asyncio.Future[None]] = []
        self._asked_at = self._told_at = -math.inf
        self._asking: asyncio.TimerHandle | None = None

    async def load(self, name: str, load: messages.Load, report: Callable[[float], None]) -> None:
        """Return when the engine has loaded a model; see `EngineProcess.load`."""
        self.name, self._report = name, report
        self.heard_at = asyncio.get_running_loop().time()
        prompts = PendingPrompts(load.prompt_concurrency * load.prefill_step_size)
        self._watchdog = Watchdog(self, load.hang_timeout, prompts)
        if self.alive:
            self.state = LinkState.LOADING
            self._send(load)
            self._watchdog.wake()
        await asyncio.shield(self._loaded)

    def generate(self, requests: Sequence[GenerateRequest]) -> "EngineRequest":
        """Start a request, one sequence for each of its choices.

        Raises EngineDied, and InvalidRequest if it is too large for a frame.
        """
        self._check_alive()
        ids = range(self._last_id + 1, self._last_id + 1 + len(requests))
        self._last_id += len(requests)
        try:
            frame = encode_frame(generate_messages(ids, requests))
        except FrameTooLarge as error:
            raise errors.InvalidRequest(f"the request is too large: {error}") from None
        engine_request = EngineRequest(ids, lambda sequence: self._send(messages.Abort(sequence)))
        if not self._requests:
            self.heard_at = asyncio.get_running_loop().time()
            self._ask_later(_REFRESH_SECONDS)
        self._requests.update(dict.fromkeys(ids, engine_request))
        self._transport.write(frame)
        self._watchdog.wake()
        return engine_request

    async def ping(self, seconds: float) -> None:
        """Wait until the engine's loop has turned, which also refreshes what it reports.

        Raises EngineDied, and TimeoutError if it does not answer in `seconds`.
        """
        self._check_alive()
        pong = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self._send(messages.Ping())
        async with asyncio.timeout(seconds):
            await pong

    def set_budget(self, memory_bytes: int) -> None:
        """Tell the engine how many bytes it may take in all."""
        if memory_bytes != self.budget:
            self.budget = memory_bytes
            self._asked_at = asyncio.get_running_loop().time()  # the answer has the figures, too
            self._send(messages.Budget(memory_bytes))

    def refresh(self) -> None:
        """Ask for what the engine reports without waiting for it, a second after the last time."""
        wait = self._asked_at + _REFRESH_SECONDS - asyncio.get_running_loop().time()
        if wait > 0:
            self._ask_later(wait)
        else:
            self._ask()

    async def update(self, seconds: float) -> None:
        """Wait at most `seconds` until what the engine reports is not older than a second.

        An engine that does nothing, and has said so, is not asked.
        """
        resting = not (self._requests or self._asking or self.tokens_per_second)
        age = asyncio.get_running_loop().time() - self._told_at
        if not resting and age > _REFRESH_SECONDS:
            with contextlib.suppress(TimeoutError, EngineDied):
                await self.ping(seconds)

    @property
    def alive(self) -> bool:
        """Whether the engine can be asked for something; False is the beginning of its end."""
        return self.state is not LinkState.ENDING

    @property
    def loading(self) -> bool:
        """Whether the engine is loading its model."""
        return self.state is LinkState.LOADING

    @property
    def requests(self) -> int:
        """How many sequences are in flight."""
        return len(self._requests)

    @property
    def queued(self) -> int:
        """How many requests are in flight of which no sequence runs yet."""
        return sum(not request.started for request in set(self._requests.values()))

    def shut_down(self) -> None:
        """Tell the engine to exit."""
        self._send(messages.Shutdown())
        self.end("the engine was stopped")
        self._transport.close()

    def kill(self, cause: str) -> None:
        """Kill the process, because of `cause`."""
        self.end(cause)
        self._kill_process()

    def end(self, cause: str | None = None) -> None:
        """Ask for nothing more, and kill a process that does not exit soon by itself."""
        self.cause = self.cause or cause
        if self.alive:
            self.state = LinkState.ENDING
            asyncio.get_running_loop().call_later(STOP_GRACE, self._kill_process)

    def fail(self, cause: str) -> None:
        """Fail everything that waits for the engine: its process has ended, because of `cause`."""
        self.end(cause)
        self._watchdog.sleep()
        self._transport.close()
        error = EngineDied(cause)
        alone = len(set(self._requests.values())) == 1
        tried = [request for request in self._requests.values() if request.on_trial]
        for request in self._requests.values():
            request.innocent = bool(tried) and not request.on_trial
            request.alone = alone
            request.end(error)
        self.ended_by_request = bool(tried)
        self._requests.clear()
        for waiting in (self._loaded, *self._pongs):
            if not waiting.done():
                waiting.set_exception(error)
                waiting.exception()  # nobody else retrieves that of a cancelled load

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, which the socket is written to with."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take what the engine has sent."""
        try:
            for payload in self._splitter.feed(data):
                self._receive(decode_engine_frame(payload))
        except (ValueError, msgspec.DecodeError) as error:
            self.kill(f"the engine sent a message that cannot be read: {error}")

    def connection_lost(self, _error: Exception | None) -> None:
        """Expect the process to exit, which is what usually closes the socket."""
        self.end()
        self.closed.set_result(None)

    def _receive(self, frame: list[messages.EngineMessage]) -> None:
        now = asyncio.get_running_loop().time()
        silence, self.heard_at = now - self.heard_at, now
        for message in frame:
            match message:
                case messages.Hello() if message.protocol_version != messages.PROTOCOL_VERSION:
                    self.kill(
                        f"the engine speaks protocol {message.protocol_version}, the daemon "
                        f"{messages.PROTOCOL_VERSION}: restart the daemon"
                    )
                case messages.Warm():
                    self.memory_bytes = message.memory_bytes
                case messages.LoadProgress():
                    self._report(message.fraction)
                case messages.Ready() if self.loading:
                    self.state = LinkState.READY
                    self.memory_bytes = message.memory_bytes
                    self.device_memory_bytes = message.device_memory_bytes
                    self.kv_bits = message.kv_bits
                    self._loaded.set_result(None)
                case messages.Pong():
                    self._take_pong(message)
                case messages.Fatal():
                    self.end(message.message)
                case messages.Hello() | messages.Ready():
                    pass
                case event:
                    self._watchdog.prompts.note(event, silence)
                    self._hand_out(event)

    def _take_pong(self, message: messages.Pong) -> None:
        self.memory_bytes = message.memory_bytes
        self.tokens_per_second = message.tokens_per_second
        self.cache_bytes = message.cache_bytes
        self.prompt_cache_bytes = message.prompt_cache_bytes
        self.batched = message.batched
        self.context_fits = message.context_fits
        self._told_at = asyncio.get_running_loop().time()
        self.on_figures()
        for pong in self._pongs:
            if not pong.done():
                pong.set_result(None)
        self._pongs.clear()
        if self._requests:
            self.refresh()

    def _hand_out(self, event: Event) -> None:
        terminal = isinstance(event, messages.Finished | messages.Failed)
        if isinstance(event, messages.Finished) and event.reason != "abort":
            self.answered = True
        request = self._requests.pop(event.id, None) if terminal else self._requests.get(event.id)
        if request is not None:
            request.take(event)

    def _ask_later(self, seconds: float) -> None:
        if self._asking is None:
            self._asking = asyncio.get_running_loop().call_later(seconds, self._ask)

    def _ask(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        self._asked_at = asyncio.get_running_loop().time()
        self._send(messages.Ping())

    def _check_alive(self) -> None:
        if not self.alive:
            raise EngineDied(self.cause or "the engine process has closed its socket")

    def _send(self, message: messages.DaemonMessage) -> None:
        if self.alive:
            self._transport.write(encode_frame([message]))


class EngineRequest:
    """The events of one request in flight, to be read by one task.

    A request has one or more choices, each of them a sequence of the engine; their ids are in a
    row. `on_end` is called once the engine is done with all of them, even if events are still to
    be read. `started` is whether one of them has begun to run. `on_trial` is whether the request
    may be what ended an engine before, `innocent` whether the engine died with another on trial,
    `alone` whether it died with this one only.
    """

    def __init__(self, ids: range, abort: Callable[[int], None]) -> None:
        self.on_end: Callable[[], None] | None = None
        self.started = self.on_trial = self.innocent = self.alone = False
        self._first = ids.start
        self._running = set(ids)
        self._abort = abort
        self._events: list[ChoiceEvent] = []
        self._news = asyncio.Event()
        self._ended = False
        self._error: MlxdError | None = None

    async def next_events(self) -> list[ChoiceEvent]:
        """Return all events that have come, at least one unless the request has ended.

        Raises an MlxdError if a sequence failed, or the engine died.
        """
        while not self._events:
            if self._error is not None:
                raise self._error
            if self._ended:
                return []
            self._news.clear()
            await self._news.wait()
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Abort the sequences that have not ended."""
        if not self._ended:
            self.end()
            self._abort_running()

    def take(self, event: Event) -> None:
        """Take an event from the engine; one sequence that fails ends the others."""
        if isinstance(event, messages.Finished | messages.Failed):
            self._running.discard(event.id)
        self.started = self.started or isinstance(event, messages.Started)
        if isinstance(event, messages.Failed):
            if not self._ended:
                self.end(_ERRORS[event.kind](event.message, param=event.param))
                self._abort_running()
            return
        self._events.append((event.id - self._first, event))
        self._news.set()
        if not self._running:
            self.end()

    def end(self, error: MlxdError | None = None) -> None:
        """End here, with `error` if there is one."""
        if not self._ended:
            self._ended = True
            if self.on_end is not None:
                self.on_end()
        self._error = self._error or error
        self._news.set()

    def _abort_running(self) -> None:
        for sequence in self._running:
            self._abort(sequence)


def _nothing(*_: object) -> None:
    pass
