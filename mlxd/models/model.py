"""The states of one model, and the one task that moves it from state to state."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from mlxd.errors import LoadFailed
from mlxd.models.catalog import Entry
from mlxd.models.engine_process import EngineProcess

Launch = Callable[[Entry, Callable[[float], None]], Awaitable[EngineProcess]]

_log = logging.getLogger("mlxd.models")


class State(StrEnum):
    """Where a model is between disk and memory."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.UNLOADED: frozenset({State.LOADING}),
    State.LOADING: frozenset({State.READY, State.FAILED, State.UNLOADED}),
    State.READY: frozenset({State.DRAINING, State.FAILED}),
    State.DRAINING: frozenset({State.UNLOADED, State.FAILED}),
    State.FAILED: frozenset({State.LOADING, State.UNLOADED}),
}


class Model:
    """One model: who holds it, and whether its engine runs.

    `_live` is the only writer of `state`, but for `_after_life` when that fails; everything else
    asks (`hold`, `ready`, `release`, `unload`) and waits.
    """

    def __init__(self, entry: Entry, launch: Launch, keep_alive: float) -> None:
        self.entry = entry
        self.state = State.UNLOADED
        self.cause: str | None = None
        self.engine: EngineProcess | None = None
        self.load_progress = 0.0
        self.idle_since = -math.inf
        self._launch = launch
        self._keep_alive = keep_alive
        self._leases = 0
        self._life: asyncio.Task[None] | None = None
        self._loaded: asyncio.Future[EngineProcess] | None = None
        self._killed = False
        self._unload_wanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def leases(self) -> int:
        """How many hold the model now."""
        return self._leases

    def hold(self) -> None:
        """Begin a lease; from here to `release` the model is not unloaded."""
        self._leases += 1
        self._idle.clear()
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def release(self) -> None:
        """End a lease."""
        self._leases -= 1
        if self._leases == 0:
            self._idle.set()
            self.idle_since = asyncio.get_running_loop().time()
            self._expire_later()

    async def ready(self) -> EngineProcess:
        """Give the engine to a holder of a lease, loading the model first where needed.

        Raises:
            LoadFailed: it cannot be loaded; the next to ask tries again.
        """
        while self._life is not None and self._is_ending():
            await asyncio.wait([self._life])
        if self._killed:
            raise LoadFailed(f"{self.entry.name} has been ended for good")
        if self._life is None or self._life.done() or self._loaded is None:
            loop = asyncio.get_running_loop()
            self._unload_wanted.clear()
            self._loaded = loop.create_future()
            self._life = loop.create_task(self._live(self._loaded))
            self._life.add_done_callback(self._after_life)
        return await asyncio.shield(self._loaded)

    async def unload(self) -> None:
        """Wait for the leases to end, then end the engine or the load; return when it is gone."""
        await self._idle.wait()
        if self._life is not None:
            self._unload_wanted.set()
            await asyncio.wait([self._life])

    async def kill(self) -> None:
        """End the engine at once and for good, whoever holds it."""
        self._killed = True
        if self._expiry is not None:
            self._expiry.cancel()
        self._unload_wanted.set()
        if self.engine is not None:
            await self.engine.stop(grace=1.0)
        if self._life is not None:
            await asyncio.wait([self._life])

    def _is_ending(self) -> bool:
        dead = self.engine is not None and not self.engine.connected
        return dead or self.state is State.DRAINING

    async def _live(self, loaded: asyncio.Future[EngineProcess]) -> None:
        """Take the model from disk to memory and back, once."""
        self.load_progress, self.cause = 0.0, None
        try:
            self.engine = await self._load()
        except LoadFailed as error:
            loaded.set_exception(error)
            loaded.exception()  # nobody may be waiting for it any more
            return
        loaded.set_result(self.engine)
        self._expire_later()
        await self._serve(self.engine)
        self.engine = None

    async def _load(self) -> EngineProcess:
        self._enter(State.LOADING)
        launch = asyncio.ensure_future(self._launch(self.entry, self._report))
        if not await self._done_before_unload(launch):
            launch.cancel()
            await asyncio.wait([launch])
            self._enter(State.UNLOADED)
            raise LoadFailed(f"loading {self.entry.name} was cancelled")
        try:
            engine = launch.result()
        except LoadFailed as error:
            self._fail(error.message)
            raise
        self._enter(State.READY)
        return engine

    async def _serve(self, engine: EngineProcess) -> None:
        """Stay ready until the engine dies or is wanted no longer, then drain and end it."""
        while not await self._done_before_unload(engine.exited):
            if self._leases == 0 or self._killed:
                break
            self._unload_wanted.clear()  # somebody came just before it would have ended
        if engine.exited.done() and not self._unload_wanted.is_set():
            self._fail(engine.exited.result())
            return
        self._enter(State.DRAINING)
        await engine.stop()
        self._enter(State.UNLOADED)

    async def _done_before_unload(self, future: asyncio.Future[Any]) -> bool:
        """Wait for `future` or the wish to unload, and tell whether `future` is done."""
        await _first(future, self._unload_wanted)
        return future.done()

    def _after_life(self, life: asyncio.Task[None]) -> None:
        """A bug must not leave anybody waiting."""
        if life.cancelled() or (error := life.exception()) is None:
            return
        _log.error("the life of %s ended in an error", self.entry.name, exc_info=error)
        self.state, self.cause, self.engine = State.FAILED, f"internal error: {error!r}", None
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(LoadFailed(self.cause))
            self._loaded.exception()

    def _report(self, fraction: float) -> None:
        self.load_progress = fraction

    def _fail(self, cause: str) -> None:
        self.cause = cause
        self._enter(State.FAILED)

    def _enter(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"{self.entry.name} cannot go from {self.state} to {state}")
        self.state = state
        _log.info("%s is %s%s", self.entry.name, state, f": {self.cause}" if self.cause else "")

    def _expire_later(self) -> None:
        if self._keep_alive >= 0 and self._leases == 0 and self.state is State.READY:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(self._keep_alive, self._unload_wanted.set)


async def _first(future: asyncio.Future[Any], event: asyncio.Event) -> None:
    """Wait until `future` is done or `event` is set."""
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait([future, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
