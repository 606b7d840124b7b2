"""Which models are in memory, and which are unloaded to make room for others.

A request for a model in memory is admitted at once. A request for another model waits in a queue
until the model fits under the limits. The least recently used models are unloaded first, busy ones
when they are done, pinned ones never. A model that can never fit is refused, with the numbers.

First come, first served would load a model for every single request if two models that do not fit
together were requested in turns. So a request for a model in memory goes ahead of the queue, and a
model stays for a moment after its last request, but only until the head of the queue has waited
for `_PATIENCE` seconds. From then on no request goes ahead if that would keep the head waiting.
When a model is admitted, all requests that wait for it are.
"""

import asyncio
import contextlib
import math
from collections.abc import Collection
from dataclasses import dataclass

from mlxd.errors import Draining, InsufficientMemory
from mlxd.models.entry import CatalogEntry
from mlxd.pool.model import ENGINE_BYTES, Model
from mlxd.units import size

_PATIENCE = 5.0
_DAEMON_BYTES = 40_000_000
_LINGER = 0.2  # how long a client takes to send its next request after an answer


@dataclass(eq=False)
class _Waiter:
    model: Model
    since: float
    turn: asyncio.Future[None]
    admitted: bool = False


class Admission:
    """The memory for models, the queue of requests for it, and the one task that serves the queue.

    `models` are all the models there are, and may grow; `limit` is in bytes.
    """

    def __init__(self, models: Collection[Model], limit: int, max_loaded: int) -> None:
        self.limit = limit
        self._models = models
        self.max_loaded = max_loaded
        self._queue: list[_Waiter] = []
        self._unloading: set[Model] = set()
        self._victims: set[Model] = set()
        self._changed = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._closed = False

    async def acquire(self, model: Model) -> None:
        """Wait for room for `model` and begin a lease of it; `release` ends the lease.

        Raises InsufficientMemory if there will never be room, or Draining.
        """
        if self._closed:
            raise Draining("the daemon is stopping")
        loop = asyncio.get_running_loop()
        if self._may_enter(model, loop.time()):
            model.hold()
            return
        waiter = _Waiter(model, loop.time(), loop.create_future())
        self._queue.append(waiter)
        if self._serving is None or self._serving.done():
            self._serving = loop.create_task(self._serve_queue())
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._queue:
                self._queue.remove(waiter)
                self._changed.set()
            elif waiter.admitted:
                self.release(model)
            raise

    def release(self, model: Model) -> None:
        """End a lease."""
        model.release()
        self._changed.set()

    def has_waiters(self, model: Model) -> bool:
        """Whether requests wait for room for `model`."""
        return self.waiting(model) > 0

    def waiting(self, model: Model) -> int:
        """Return how many requests wait for room for `model`."""
        return sum(waiter.model is model for waiter in self._queue)

    def notify(self) -> None:
        """Look at the queue again: a model has changed its state."""
        self._changed.set()

    async def unload(self, model: Model) -> None:
        """Unload `model` once its leases have ended; new requests for it wait meanwhile."""
        if model in self._unloading:
            await model.unload()
            return
        self._unloading.add(model)
        try:
            await model.unload()
        finally:
            self._unloading.discard(model)
            self._changed.set()

    def evict_idle(self, model: Model) -> None:
        """Unload idle models if `model` takes more memory than expected."""
        for victim in self._find_victims(model) or ():
            if victim.leases == 0 and victim not in self._unloading:
                victim.log.info("%s is unloaded: %s", victim.entry.name, self._usage(model))
                victim.metrics.evicted(victim.entry.id)
                victim.expire()

    def warn_if_over_limit(self, model: Model) -> None:
        """Warn if `model`, now loaded, takes more memory by itself than all models may."""
        if model.memory > self.limit:
            model.log.warning(
                "%s exceeds the limit by itself: %s", model.entry.name, self._usage(model)
            )

    def share(self, model: Model) -> int:
        """Return how many bytes the engine of `model`, which is in memory, may take in all.

        Each engine may take what its model needs, and an equal part of what all of them leave.
        """
        resident = [other for other in self._models if other.resident or other is model]
        spare = self.limit - _DAEMON_BYTES - sum(other.needed for other in resident)
        return model.needed + max(0, spare) // len(resident)

    def room(self, entry: CatalogEntry) -> int:
        """Return how many bytes are left beside the weights of a model that is alone in memory."""
        weights = entry.memory_bytes - entry.cache_bytes
        return self.limit - _DAEMON_BYTES - ENGINE_BYTES - weights

    def must_unload(self, model: Model, other: Model) -> bool:
        """Whether `model`, which is in memory, must be unloaded to load `other`."""
        return not other.resident and model in (self._find_victims(other) or ())

    def close(self) -> None:
        """Refuse every request that waits or comes."""
        self._closed = True
        for waiter in self._queue:
            _refuse(waiter, Draining("the daemon is stopping"))
        self._queue.clear()
        self._changed.set()

    def _may_enter(self, model: Model, now: float) -> bool:
        if model in self._unloading:
            return False
        if not model.resident:
            return not self._queue and self._find_victims(model) == []
        waited = bool(self._queue) and now >= self._queue[0].since + _PATIENCE
        return not waited or model not in self._victims

    async def _serve_queue(self) -> None:
        while self._queue:
            self._changed.clear()
            head = self._queue[0]
            victims = [] if head.model.resident else self._find_victims(head.model)
            if head.model in self._unloading:
                await self._changed.wait()
            elif victims is None:
                self._refuse_all(head.model)
            elif not victims:
                self._victims.clear()
                self._admit(head.model)
            else:
                self._victims = set(victims)
                await self._make_room(head, victims)
        self._victims.clear()

    async def _make_room(self, head: _Waiter, victims: list[Model]) -> None:
        """Unload one of `victims`, or wait until one may be unloaded or something has changed."""
        victim = min(victims, key=lambda model: _seconds_to_stay(model, head))
        seconds = _seconds_to_stay(victim, head)
        if seconds <= 0:
            victim.log.info(
                "%s is unloaded to make room for %s", victim.entry.name, head.model.entry.name
            )
            victim.metrics.evicted(victim.entry.id)
            await self.unload(victim)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._changed.wait()

    def _admit(self, model: Model) -> None:
        """Begin the leases of all requests that wait for `model`."""
        for waiter in self._dequeue(model):
            if not waiter.turn.done():
                model.hold()
                waiter.admitted = True
                waiter.turn.set_result(None)

    def _refuse_all(self, model: Model) -> None:
        for waiter in self._dequeue(model):
            _refuse(waiter, InsufficientMemory(self._why_too_large(model)))

    def _dequeue(self, model: Model) -> list[_Waiter]:
        leaving = [waiter for waiter in self._queue if waiter.model is model]
        self._queue = [waiter for waiter in self._queue if waiter.model is not model]
        return leaving

    def _find_victims(self, model: Model) -> list[Model] | None:
        """Return the models to unload for `model`, in order; None if it does not fit even then.

        A model that is alone may fill the limit with its weights and cache; beside others, the rest
        that its engine takes counts too.
        """
        if model.entry.memory_bytes > self.limit:
            return None
        others = [other for other in self._models if other.resident and other is not model]
        victims: list[Model] = []
        for other in sorted(others, key=_eviction_order):
            if self._fits(model, [each for each in others if each not in victims]):
                break
            if not other.pinned:
                victims.append(other)
        staying = [each for each in others if each not in victims]
        return victims if not staying or self._fits(model, staying) else None

    def _fits(self, model: Model, others: list[Model]) -> bool:
        if not others:
            return True
        together = sum(other.memory for other in (model, *others))
        return together <= self.limit and len(others) < self.max_loaded

    def _why_too_large(self, model: Model) -> str:
        entry = model.entry
        need = f"{entry.name} needs {size(entry.memory_bytes)}"
        if entry.cache_bytes:
            weights = size(entry.memory_bytes - entry.cache_bytes)
            need += f" (weights {weights}, cache {size(entry.cache_bytes)})"
        if entry.memory_bytes > self.limit:
            return f"{need}, and models.memory_limit is {size(self.limit)}"
        pinned = [other for other in self._models if other.resident and other.pinned]
        # Without their names, which the client may not know.
        taken = size(sum(other.memory for other in pinned))
        return (
            f"{entry.name} takes {size(model.memory)} with its engine, and does not fit beside "
            f"the pinned models, which take {taken} (models.pinned): "
            f"models.memory_limit is {size(self.limit)}, models.max_loaded {self.max_loaded}"
        )

    def _usage(self, model: Model) -> str:
        everything = sum(other.memory for other in self._models if other.resident)
        return (
            f"{model.entry.name} takes {size(model.memory)}, all models {size(everything)}, "
            f"and models.memory_limit is {size(self.limit)}"
        )


def _refuse(waiter: _Waiter, error: Draining | InsufficientMemory) -> None:
    if not waiter.turn.done():
        waiter.turn.set_exception(error)


def _eviction_order(model: Model) -> tuple[bool, float]:
    return model.leases > 0, model.idle_since


def _seconds_to_stay(model: Model, waiter: _Waiter) -> float:
    """Return how many seconds `model` stays, if nothing changes, while `waiter` waits."""
    if model.leases:
        return math.inf
    until = min(model.idle_since + _LINGER, waiter.since + _PATIENCE)
    return until - asyncio.get_running_loop().time()
