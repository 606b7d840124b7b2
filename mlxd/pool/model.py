"""The states of one model, and the task that moves it from state to state."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from mlxd.config import Config
from mlxd.errors import EngineDied, LoadFailed
from mlxd.metrics.metrics import Metrics
from mlxd.models.catalog import CatalogEntry
from mlxd.pool.crashes import Crashes
from mlxd.pool.engine_process import EngineCrashed, EngineExit, EngineProcess
from mlxd.pool.suspects import Suspects, Trials

Launch = Callable[[CatalogEntry, Callable[[float], None]], Awaitable[EngineProcess]]

ENGINE_BYTES = 100_000_000
"""About what an engine takes beside weights and cache."""

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
    """One model: its state, its leases and its engine.

    The task `_run` is the only writer of `state`, except for `_run_done` when the task fails;
    everything else asks (`hold`, `ready`, `release`, `unload`) and waits. `state_changed` and
    `memory_changed` are called when the state is another one, and when the memory was measured.
    `idle` is set while there are no leases. `metrics` counts loads, crashes and evictions.
    """

    def __init__(
        self,
        entry: CatalogEntry,
        launch: Launch,
        config: Config,
        state_changed: Callable[["Model"], None],
        memory_changed: Callable[["Model"], None],
        metrics: Metrics,
    ) -> None:
        self.entry = entry
        self.metrics = metrics
        self.log = logging.LoggerAdapter(_log, {"details": {"engine": entry.id}})
        self.crashes = Crashes(config.engine.max_crashes)
        self.trials = Trials()
        self.suspects = Suspects()
        self._has_answered = False
        self._configure(config)
        self.measured = 0
        self.state = State.UNLOADED
        self.cause: str | None = None
        self.engine: EngineProcess | None = None
        self.load_progress = 0.0
        self.leases = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.idle_since = -math.inf
        self._launch = launch
        self._keep_alive = self._usual_keep_alive
        self._state_changed = state_changed
        self._memory_changed = memory_changed
        self._running: asyncio.Task[None] | None = None
        self._loaded: asyncio.Future[EngineProcess] | None = None
        self._killed = False
        self._unload_wanted = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None
        self._expires_at = 0.0

    def configure(self, config: Config) -> None:
        """Take a changed configuration; what a request said of its keep-alive stays."""
        usual = self._usual_keep_alive
        self._configure(config)
        self.crashes.limit = config.engine.max_crashes
        if self._keep_alive == usual:
            self.keep(self._usual_keep_alive)

    def _configure(self, config: Config) -> None:
        names = (config.models.aliases.get(name, name) for name in config.models.pinned)
        self.pinned = self.entry.id in names
        own = config.for_model(self.entry.id).keep_alive
        self._usual_keep_alive = config.models.keep_alive if own is None else own

    @property
    def resident(self) -> bool:
        """Whether the model takes memory, or is about to."""
        return self.leases > 0 or self.state in (State.LOADING, State.READY, State.DRAINING)

    @property
    def needed(self) -> int:
        """How many bytes the model and its engine need for one conversation, about."""
        return self.entry.memory_bytes + ENGINE_BYTES

    @property
    def memory(self) -> int:
        """How many bytes the model takes, or will take as far as is known.

        What the prompt cache takes does not count, since that shrinks when others need it.
        """
        if self.engine is not None:
            link = self.engine.link
            taken = link.memory_bytes - link.prompt_cache_bytes
            return max(taken, self.entry.memory_bytes)
        return max(self.measured, self.entry.memory_bytes) if self.measured else self.needed

    def set_budget(self, memory_bytes: int) -> None:
        """Tell the engine, if it is ready, how many bytes it may take in all."""
        if self.state is State.READY and self.engine is not None:
            self.engine.link.set_budget(memory_bytes)

    @property
    def expires_in(self) -> float | None:
        """How many seconds until the model is unloaded unless it is used; None for never."""
        if self._expiry is None:
            return None
        return max(0.0, self._expires_at - asyncio.get_running_loop().time())

    def keep(self, seconds: float) -> None:
        """Keep the model for `seconds` after its last use, -1 for ever, until it is unloaded."""
        self._keep_alive = seconds
        self._expire_later()

    def hold(self) -> None:
        """Begin a lease; until `release` the model is not unloaded."""
        self.leases += 1
        self.idle.clear()
        self._cancel_expiry()

    def release(self) -> None:
        """End a lease."""
        self.leases -= 1
        if self.leases == 0:
            self.idle.set()
            self.idle_since = asyncio.get_running_loop().time()
            self._expire_later()
            if self.engine is not None:
                self.engine.link.refresh()

    async def ready(self) -> EngineProcess:
        """Return the engine, and load the model first if needed; for holders of a lease.

        Raises LoadFailed, or EngineDied if the engine crashes during the load; the next call tries
        again, unless the engine crashed too often.
        """
        while self._running is not None and self._is_ending():
            await asyncio.wait([self._running])
        if self._killed:
            raise LoadFailed(f"{self.entry.name} was stopped for good")
        if self._running is None or self._running.done() or self._loaded is None:
            self.check()
            loop = asyncio.get_running_loop()
            self._unload_wanted.clear()
            self._loaded = loop.create_future()
            self._running = loop.create_task(self._run(self._loaded))
            self._running.add_done_callback(self._run_done)
        return await asyncio.shield(self._loaded)

    async def unload(self) -> None:
        """Wait for the leases to end, then stop the engine or the load, and wait for its end."""
        await self.idle.wait()
        if self._running is not None:
            self._unload_wanted.set()
            await asyncio.wait([self._running])

    def expire(self) -> None:
        """Unload the model now, unless it has leases."""
        if self.leases == 0:
            self._cancel_expiry()
            self._unload_wanted.set()

    def check(self) -> None:
        """Raise LoadFailed if the model crashed too often, and rests now."""
        if self.crashes.rests and self.state is State.FAILED:
            raise LoadFailed(f"{self.entry.name} has failed: {self.cause}")

    async def kill(self) -> None:
        """Stop the engine soon and for good, even if the model has leases."""
        self._killed = True
        self._cancel_expiry()
        self._unload_wanted.set()
        if self.engine is not None:
            await self.engine.stop(grace=1.0)
        if self._running is not None:
            await asyncio.wait([self._running])

    def _is_ending(self) -> bool:
        dead = self.engine is not None and not self.engine.link.alive
        return dead or self.state is State.DRAINING

    async def _run(self, loaded: asyncio.Future[EngineProcess]) -> None:
        """Load the model, serve it and unload it, once."""
        self.load_progress, self.cause = 0.0, None
        try:
            self.engine = await self._load()
        except (EngineDied, LoadFailed) as error:
            loaded.set_exception(error)
            loaded.exception()  # perhaps nobody waits for it any more
            return
        self._note_memory()
        self.engine.link.on_figures = self._note_memory
        self._enter(State.READY)
        loaded.set_result(self.engine)
        self._expire_later()
        await self._serve(self.engine)

    async def _load(self) -> EngineProcess:
        self._enter(State.LOADING)
        began = time.monotonic()
        launch = asyncio.ensure_future(self._launch(self.entry, self._report))
        if not await self._done_before_unload(launch):
            launch.cancel()
            await asyncio.wait([launch])
            self.metrics.not_loaded(self.entry.id, "cancelled")
            self._enter(State.UNLOADED)
            raise LoadFailed(f"loading {self.entry.name} was cancelled")
        try:
            engine = launch.result()
        except (LoadFailed, EngineCrashed) as error:
            self.metrics.not_loaded(self.entry.id, "failed")
            if isinstance(error, EngineCrashed):
                self._crash(error.end)
            else:
                self._fail(error.message)
            raise
        self.metrics.loaded(self.entry.id, time.monotonic() - began)
        return engine

    async def _serve(self, engine: EngineProcess) -> None:
        """Stay ready until the engine dies or the model is to be unloaded, then stop the engine."""
        while not await self._done_before_unload(engine.exited):
            if self.leases == 0 or self._killed:
                break
            self._unload_wanted.clear()  # a lease began just before
        if engine.exited.done() and not self._unload_wanted.is_set():
            self.engine = None
            self._has_answered = self._has_answered or engine.link.answered
            if engine.link.ended_by_request and self._has_answered:
                self._blame_request(engine.exited.result())
            else:
                self._crash(engine.exited.result())
            return
        self._enter(State.DRAINING)
        await engine.stop()
        self.engine = None
        self._enter(State.UNLOADED)

    async def _done_before_unload(self, future: asyncio.Future[Any]) -> bool:
        """Wait for `future` or the wish to unload; return whether `future` is done."""
        unload_wanted = asyncio.ensure_future(self._unload_wanted.wait())
        await asyncio.wait([future, unload_wanted], return_when=asyncio.FIRST_COMPLETED)
        unload_wanted.cancel()
        return future.done()

    def _run_done(self, run: asyncio.Task[None]) -> None:
        """Fail whoever waits for the model if a bug ended its task."""
        if run.cancelled() or (error := run.exception()) is None:
            return
        self.log.error(
            "the engine of %s failed with an internal error", self.entry.name, exc_info=error
        )
        self.state, self.cause, self.engine = State.FAILED, f"internal error: {error!r}", None
        self._state_changed(self)
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(LoadFailed(self.cause))
            self._loaded.exception()

    def _note_memory(self) -> None:
        if self.engine is not None:
            self.measured = self.memory
            self._memory_changed(self)

    def _report(self, fraction: float) -> None:
        self.load_progress = fraction

    def _fail(self, cause: str) -> None:
        self.cause = cause
        self._enter(State.FAILED)

    def _crash(self, crash: EngineExit) -> None:
        self.metrics.crashed(self.entry.id)
        self.crashes.add(crash)
        cause = crash.cause
        if self.crashes.too_many:
            cause += (
                f"; {self.crashes.count} crashes in 5 minutes are too many (engine.max_crashes): "
                f"`mlxctl load {self.entry.id}` tries again, or a request in "
                f"{self.crashes.rest_seconds:.0f} s"
            )
        last = "".join(f"\n    {line}" for line in crash.output)
        self.log.error("the engine of %s crashed: %s%s", self.entry.name, crash.cause, last)
        self._fail(cause)

    def _blame_request(self, crash: EngineExit) -> None:
        """Note a crash, and the one before, as those of a request and not of the model."""
        self.metrics.crashed(self.entry.id)
        self.crashes.take_back(crash)
        self.log.error("a request ended the engine of %s: %s", self.entry.name, crash.cause)
        self._fail(crash.cause)

    def _enter(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"{self.entry.name} cannot go from {self.state} to {state}")
        self.state = state
        cause = f": {self.cause}" if self.cause else ""
        self.log.info("%s is %s%s", self.entry.name, state, cause)
        if state in (State.UNLOADED, State.FAILED):
            self._keep_alive = self._usual_keep_alive
            self._cancel_expiry()
        self._state_changed(self)

    def _expire_later(self) -> None:
        self._cancel_expiry()
        stays = self.pinned or self._keep_alive < 0
        if not stays and self.leases == 0 and self.state is State.READY:
            loop = asyncio.get_running_loop()
            # uvloop's handle does not tell it where there is no delay.
            self._expires_at = loop.time() + self._keep_alive
            self._expiry = loop.call_later(self._keep_alive, self.expire)

    def _cancel_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
