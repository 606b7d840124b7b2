"""Who is in memory, and who makes room for whom.

A model that is in memory serves whoever asks for it. One that is not waits in line until it fits
under the limits: models that nobody has used for longest leave first, busy ones when they are
done, pinned ones never. What can never fit is refused with the arithmetic.

First come, first served would load a model anew for each request where two that do not fit
together are asked for in turns. So a request for a model in memory goes ahead of those that wait
for another one, and a model is kept for a moment after its last request; but only until somebody
has waited for `_PATIENCE` seconds. From then on nobody goes ahead of them where it would keep them
waiting. With its turn a model gets all the requests that wait for it.
"""

import asyncio
import contextlib
import math
from collections.abc import Collection
from dataclasses import dataclass

from mlxd.errors import Draining, InsufficientMemory
from mlxd.models.entry import CatalogEntry
from mlxd.pool.model import Model
from mlxd.units import size

_PATIENCE = 5.0
_LINGER = 0.2  # what a client takes that asks again as soon as it has its answer


@dataclass(eq=False)
class _Waiter:
    model: Model
    since: float
    turn: asyncio.Future[None]
    admitted: bool = False


class Admission:
    """The memory for models, the line of those who wait for it, and the one task that serves them.

    `models` holds every model there may be in memory and may grow; `limit` is in bytes.
    """

    def __init__(self, models: Collection[Model], limit: int, max_loaded: int) -> None:
        self.limit = limit
        self._models = models
        self._max_loaded = max_loaded
        self._line: list[_Waiter] = []
        self._leaving: set[Model] = set()
        self._wanted: set[Model] = set()
        self._changed = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._closed = False

    async def take(self, model: Model) -> None:
        """Begin a lease of `model`, once there is room for it; `give_back` ends it.

        Raises:
            InsufficientMemory: there never will be.
            Draining: the line is closed.
        """
        if self._closed:
            raise Draining("the daemon is stopping")
        loop = asyncio.get_running_loop()
        if self._may_join(model, loop.time()):
            model.hold()
            return
        waiter = _Waiter(model, loop.time(), loop.create_future())
        self._line.append(waiter)
        if self._serving is None or self._serving.done():
            self._serving = loop.create_task(self._serve_line())
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._line:
                self._line.remove(waiter)
                self._changed.set()
            elif waiter.admitted:
                self.give_back(model)
            raise

    def give_back(self, model: Model) -> None:
        """End a lease."""
        model.release()
        self._changed.set()

    def awaited(self, model: Model) -> bool:
        """Whether somebody waits for room for `model`."""
        return any(waiter.model is model for waiter in self._line)

    def changed(self) -> None:
        """Look again: a model has changed its state."""
        self._changed.set()

    async def empty(self, model: Model) -> None:
        """Take `model` out of memory, once nobody holds it; who asks for it meanwhile waits."""
        if model in self._leaving:
            await model.unload()
            return
        self._leaving.add(model)
        try:
            await model.unload()
        finally:
            self._leaving.discard(model)
            self._changed.set()

    def check(self, model: Model) -> None:
        """Take idle models out of memory where `model` is larger than was thought."""
        for victim in self._victims(model) or ():
            if victim.leases == 0 and victim not in self._leaving:
                victim.log.info("%s makes room: %s", victim.entry.name, self._sum(model))
                victim.expire()

    def warn_of(self, model: Model) -> None:
        """Say where `model`, now loaded, takes more by itself than all models may."""
        if model.memory > self.limit:
            model.log.warning(
                "%s takes more than the limit: %s", model.entry.name, self._sum(model)
            )

    def left_beside(self, entry: CatalogEntry) -> int:
        """Give how many bytes the limit leaves to a model beyond what it needs."""
        return max(0, self.limit - entry.memory_bytes)

    def must_leave(self, model: Model, other: Model) -> bool:
        """Whether `model`, which is in memory, would have to leave for `other`."""
        return not other.resident and model in (self._victims(other) or ())

    def close(self) -> None:
        """Send everybody home who waits or comes."""
        self._closed = True
        for waiter in self._line:
            _refuse(waiter, Draining("the daemon is stopping"))
        self._line.clear()
        self._changed.set()

    def _may_join(self, model: Model, now: float) -> bool:
        if model in self._leaving:
            return False
        if not model.resident:
            return not self._line and self._victims(model) == []
        waited = bool(self._line) and now >= self._line[0].since + _PATIENCE
        return not waited or model not in self._wanted

    async def _serve_line(self) -> None:
        while self._line:
            self._changed.clear()
            head = self._line[0]
            victims = [] if head.model.resident else self._victims(head.model)
            if head.model in self._leaving:
                await self._changed.wait()
            elif victims is None:
                self._refuse_all(head.model)
            elif not victims:
                self._wanted.clear()
                self._admit(head.model)
            else:
                self._wanted = set(victims)
                await self._make_way(head, victims)
        self._wanted.clear()

    async def _make_way(self, head: _Waiter, victims: list[Model]) -> None:
        """Unload one of `victims`, or wait until one may be, or until something has changed."""
        victim = min(victims, key=lambda model: _stay(model, head))
        seconds = _stay(victim, head)
        if seconds <= 0:
            victim.log.info("%s makes room for %s", victim.entry.name, head.model.entry.name)
            await self.empty(victim)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._changed.wait()

    def _admit(self, model: Model) -> None:
        """Begin the leases of all who wait for `model`."""
        for waiter in self._leave_line(model):
            if not waiter.turn.done():
                model.hold()
                waiter.admitted = True
                waiter.turn.set_result(None)

    def _refuse_all(self, model: Model) -> None:
        """Send home all who wait for `model`, which can never fit."""
        for waiter in self._leave_line(model):
            _refuse(waiter, InsufficientMemory(self._arithmetic(model)))

    def _leave_line(self, model: Model) -> list[_Waiter]:
        leaving = [waiter for waiter in self._line if waiter.model is model]
        self._line = [waiter for waiter in self._line if waiter.model is not model]
        return leaving

    def _victims(self, model: Model) -> list[Model] | None:
        """Give which models must leave for `model`, the first to leave first; None if it is no use.

        Alone, a model may take what its weights and cache are; beside others, what an engine takes
        besides counts too.
        """
        if model.entry.memory_bytes > self.limit:
            return None
        others = [other for other in self._models if other.resident and other is not model]
        victims: list[Model] = []
        for other in sorted(others, key=_last_to_leave):
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
        return together <= self.limit and len(others) < self._max_loaded

    def _arithmetic(self, model: Model) -> str:
        entry = model.entry
        need = f"{entry.name} needs {size(entry.memory_bytes)}"
        if entry.cache_bytes:
            weights = size(entry.memory_bytes - entry.cache_bytes)
            need += f" (weights {weights}, cache {size(entry.cache_bytes)})"
        if entry.memory_bytes > self.limit:
            return f"{need}, and models.memory_limit is {size(self.limit)}"
        pinned = [other for other in self._models if other.resident and other.pinned]
        names = ", ".join(f"{other.entry.name} {size(other.memory)}" for other in pinned)
        return (
            f"{entry.name} takes {size(model.memory)} with its engine, and does not fit beside "
            f"what is pinned ({names}): models.memory_limit is {size(self.limit)}, "
            f"models.max_loaded {self._max_loaded}"
        )

    def _sum(self, model: Model) -> str:
        everything = sum(other.memory for other in self._models if other.resident)
        return (
            f"{model.entry.name} takes {size(model.memory)}, all models {size(everything)}, "
            f"and models.memory_limit is {size(self.limit)}"
        )


def _refuse(waiter: _Waiter, error: Draining | InsufficientMemory) -> None:
    if not waiter.turn.done():
        waiter.turn.set_exception(error)


def _last_to_leave(model: Model) -> tuple[bool, float]:
    return model.leases > 0, model.idle_since


def _stay(model: Model, waiter: _Waiter) -> float:
    """Give for how many seconds a model stays, if nothing changes, while `waiter` waits."""
    if model.leases:
        return math.inf
    until = min(model.idle_since + _LINGER, waiter.since + _PATIENCE)
    return until - asyncio.get_running_loop().time()
