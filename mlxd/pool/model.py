"""The states of one model, and the one task that moves it from state to state."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from mlxd.errors import EngineDied, LoadFailed
from mlxd.models.catalog import CatalogEntry
from mlxd.pool.crashes import Crash, Crashes, EngineCrashed
from mlxd.pool.engine_process import EngineProcess

Launch = Callable[[CatalogEntry, Callable[[float], None]], Awaitable[EngineProcess]]

_ENGINE_BYTES = 100_000_000  # what an engine takes besides weights and cache

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


class Observer(Protocol):
    """Who wants to know of changes."""

    def state_changed(self, model: "Model") -> None:
        """Take note of the state a model is in."""

    def memory_changed(self, model: "Model") -> None:
        """Take note of the memory a model takes."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How long a model stays in memory: `keep_alive` seconds after its last use, -1 for ever.

    One that is `pinned` stays for ever and makes room for no other. One that has crashed
    `max_crashes` times in five minutes is not loaded again by itself; 0 is no limit.
    """

    keep_alive: float = -1.0
    pinned: bool = False
    max_crashes: int = 0


class Model:
    """One model: who holds it, and whether its engine runs.

    `_live` is the only writer of `state`, but for `_after_life` when that fails; everything else
    asks (`hold`, `ready`, `release`, `unload`) and waits.
    """

    def __init__(
        self,
        entry: CatalogEntry,
        launch: Launch,
        policy: Policy,
        observer: Observer,
    ) -> None:
        self.entry = entry
        self.log = logging.LoggerAdapter(_log, {"details": {"engine": entry.id}})
        self.crashes = Crashes(policy.max_crashes)
        self.pinned = policy.pinned
        self.measured = 0
        self.state = State.UNLOADED
        self.cause: str | None = None
        self.engine: EngineProcess | None = None
        self.load_progress = 0.0
        self.idle_since = -math.inf
        self._launch = launch
        self._usual_keep_alive = self._keep_alive = policy.keep_alive
        self._observer = observer
        self._leases = 0
        self._life: asyncio.Task[None] | None = None
        self._loaded: asyncio.Future[EngineProcess] | None = None
        self._killed = False
        self._unload_wanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._expiry: asyncio.TimerHandle | None = None
        self._expires_at = 0.0

    @property
    def leases(self) -> int:
        """How many hold the model now."""
        return self._leases

    @property
    def resident(self) -> bool:
        """Whether it takes memory, or is about to."""
        return self._leases > 0 or self.state in (State.LOADING, State.READY, State.DRAINING)

    @property
    def memory(self) -> int:
        """How many bytes it takes, or will take as far as is known."""
        needed = self.entry.memory_bytes
        if self.engine is not None:
            return max(self.engine.memory_bytes, needed)
        return max(self.measured, needed) if self.measured else needed + _ENGINE_BYTES

    @property
    def expires_in(self) -> float | None:
        """In how many seconds it leaves memory if nobody asks for it; None if it does not."""
        if self._expiry is None:
            return None
        return max(0.0, self._expires_at - asyncio.get_running_loop().time())

    def keep(self, seconds: float) -> None:
        """From now on until it has left memory, let it stay so long after its last use."""
        self._keep_alive = seconds
        self._expire_later()

    def hold(self) -> None:
        """Begin a lease; from here to `release` the model is not unloaded."""
        self._leases += 1
        self._idle.clear()
        self._cancel_expiry()

    def release(self) -> None:
        """End a lease."""
        self._leases -= 1
        if self._leases == 0:
            self._idle.set()
            self.idle_since = asyncio.get_running_loop().time()
            self._expire_later()
            if self.engine is not None:
                self.engine.refresh()

    async def ready(self) -> EngineProcess:
        """Give the engine to a holder of a lease, loading the model first where needed.

        Raises:
            LoadFailed: it cannot be loaded; the next to ask tries again, unless its engine has
                crashed too often.
            EngineDied: its engine has crashed in the load.
        """
        while self._life is not None and self._is_ending():
            await asyncio.wait([self._life])
        if self._killed:
            raise LoadFailed(f"{self.entry.name} has been ended for good")
        if self._life is None or self._life.done() or self._loaded is None:
            self.check()
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

    async def idle(self) -> None:
        """Return when nobody holds it."""
        await self._idle.wait()

    def expire(self) -> None:
        """Let it leave memory now, unless somebody holds it."""
        if self._leases == 0:
            self._cancel_expiry()
            self._unload_wanted.set()

    def check(self) -> None:
        """Return when it may be loaded.

        Raises:
            LoadFailed: it has crashed too often.
        """
        if self.crashes.too_many and self.state is State.FAILED:
            raise LoadFailed(f"{self.entry.name} has failed: {self.cause}")

    def forgive(self) -> None:
        """Let a model be loaded again that has crashed too often."""
        self.crashes.forgive()

    async def kill(self) -> None:
        """End the engine at once and for good, whoever holds it."""
        self._killed = True
        self._cancel_expiry()
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
        except (EngineDied, LoadFailed) as error:
            loaded.set_exception(error)
            loaded.exception()  # nobody may be waiting for it any more
            return
        self._note_memory()
        self.engine.on_figures = self._note_memory
        self._enter(State.READY)
        loaded.set_result(self.engine)
        self._expire_later()
        await self._serve(self.engine)

    async def _load(self) -> EngineProcess:
        self._enter(State.LOADING)
        launch = asyncio.ensure_future(self._launch(self.entry, self._report))
        if not await self._done_before_unload(launch):
            launch.cancel()
            await asyncio.wait([launch])
            self._enter(State.UNLOADED)
            raise LoadFailed(f"loading {self.entry.name} was cancelled")
        try:
            return launch.result()
        except LoadFailed as error:
            self._fail(error.message)
            raise
        except EngineCrashed as error:
            self._crash(error.crash)
            raise

    async def _serve(self, engine: EngineProcess) -> None:
        """Stay ready until the engine dies or is wanted no longer, then drain and end it."""
        while not await self._done_before_unload(engine.exited):
            if self._leases == 0 or self._killed:
                break
            self._unload_wanted.clear()  # somebody came just before it would have ended
        if engine.exited.done() and not self._unload_wanted.is_set():
            self.engine = None
            self._crash(engine.crash())
            return
        self._enter(State.DRAINING)
        await engine.stop()
        self.engine = None
        self._enter(State.UNLOADED)

    async def _done_before_unload(self, future: asyncio.Future[Any]) -> bool:
        """Wait for `future` or the wish to unload, and tell whether `future` is done."""
        await _first(future, self._unload_wanted)
        return future.done()

    def _after_life(self, life: asyncio.Task[None]) -> None:
        """A bug must not leave anybody waiting."""
        if life.cancelled() or (error := life.exception()) is None:
            return
        self.log.error("the life of %s ended in an error", self.entry.name, exc_info=error)
        self.state, self.cause, self.engine = State.FAILED, f"internal error: {error!r}", None
        self._observer.state_changed(self)
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(LoadFailed(self.cause))
            self._loaded.exception()

    def _note_memory(self) -> None:
        if self.engine is not None:
            self.measured = self.engine.memory_bytes
            self._observer.memory_changed(self)

    def _report(self, fraction: float) -> None:
        self.load_progress = fraction

    def _fail(self, cause: str) -> None:
        self.cause = cause
        self._enter(State.FAILED)

    def _crash(self, crash: Crash) -> None:
        self.crashes.add(crash)
        cause = crash.cause
        if self.crashes.too_many:
            cause += (
                f"; {self.crashes.count} crashes in 5 minutes are too many (engine.max_crashes): "
                f"`mlxctl load {self.entry.id}` tries again"
            )
        last = "".join(f"\n    {line}" for line in crash.output)
        self.log.error("the engine of %s has crashed: %s%s", self.entry.name, crash.cause, last)
        self._fail(cause)

    def _enter(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"{self.entry.name} cannot go from {self.state} to {state}")
        self.state = state
        cause = f": {self.cause}" if self.cause else ""
        self.log.info("%s is %s%s", self.entry.name, state, cause)
        if state in (State.UNLOADED, State.FAILED):
            self._keep_alive = self._usual_keep_alive
            self._cancel_expiry()
        self._observer.state_changed(self)

    def _expire_later(self) -> None:
        self._cancel_expiry()
        stays = self.pinned or self._keep_alive < 0
        if not stays and self._leases == 0 and self.state is State.READY:
            loop = asyncio.get_running_loop()
            # uvloop's handle does not tell it where there is no delay.
            self._expires_at = loop.time() + self._keep_alive
            self._expiry = loop.call_later(self._keep_alive, self.expire)

    def _cancel_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None


async def _first(future: asyncio.Future[Any], event: asyncio.Event) -> None:
    """Wait until `future` is done or `event` is set."""
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait([future, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
