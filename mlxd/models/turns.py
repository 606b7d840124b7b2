"""Whose turn it is: of the models that requests wait for, one is in memory at a time.

First come, first served would load a model anew for each request where two are asked for in turns.
So a request for the model in memory goes ahead of those that wait for another one, and that model
is kept for a moment after its last request; but only until somebody has waited for `_PATIENCE`
seconds. From then on nobody goes ahead, and the model leaves when what it has begun is done. With
its turn a model gets all the requests that wait for it.
"""

import asyncio
import contextlib
import math
from dataclasses import dataclass

from mlxd.errors import Draining
from mlxd.models.model import Model

_PATIENCE = 5.0
_LINGER = 0.2  # what a client takes that asks again as soon as it has its answer


@dataclass(eq=False)
class _Waiter:
    model: Model
    since: float
    turn: asyncio.Future[None]
    admitted: bool = False


class Turns:
    """The line of those who wait for a model, and the one task that changes models."""

    def __init__(self) -> None:
        self._current: Model | None = None
        self._leaving = self._closed = False
        self._line: list[_Waiter] = []
        self._changed = asyncio.Event()
        self._changing: asyncio.Task[None] | None = None

    async def take(self, model: Model) -> None:
        """Begin a lease of `model`, once it is its turn; `give_back` ends it.

        Raises:
            Draining: the line is closed.
        """
        if self._closed:
            raise Draining("the daemon is stopping")
        loop = asyncio.get_running_loop()
        if self._may_join(model, loop.time()):
            self._current = model
            model.hold()
            return
        waiter = _Waiter(model, loop.time(), loop.create_future())
        self._line.append(waiter)
        if self._changing is None or self._changing.done():
            self._changing = loop.create_task(self._serve_line())
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

    def close(self) -> None:
        """Send everybody home who waits or comes."""
        self._closed = True
        for waiter in self._line:
            if not waiter.turn.done():
                waiter.turn.set_exception(Draining("the daemon is stopping"))
        self._line.clear()
        self._changed.set()

    def _may_join(self, model: Model, now: float) -> bool:
        if self._leaving:
            return False
        if self._current is not model:
            return self._current is None
        return not self._line or now < self._line[0].since + _PATIENCE

    async def _serve_line(self) -> None:
        while self._line:
            head, current = self._line[0], self._current
            if current is None or current is head.model:
                self._current = head.model
                self._admit(head.model)
            elif (seconds := _stay(current, head)) > 0:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if seconds == math.inf else seconds):
                        await self._changed.wait()
            else:
                self._leaving = True
                await current.unload()
                self._leaving, self._current = False, None

    def _admit(self, model: Model) -> None:
        """Begin the leases of all who wait for `model`."""
        admitted = [waiter for waiter in self._line if waiter.model is model]
        self._line = [waiter for waiter in self._line if waiter.model is not model]
        for waiter in admitted:
            if not waiter.turn.done():
                model.hold()
                waiter.admitted = True
                waiter.turn.set_result(None)


def _stay(current: Model, waiter: _Waiter) -> float:
    """Give for how many seconds a model stays, if nothing changes, while `waiter` waits."""
    if current.leases:
        return math.inf
    until = min(current.idle_since + _LINGER, waiter.since + _PATIENCE)
    return until - asyncio.get_running_loop().time()
