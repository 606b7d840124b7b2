"""Reading the disk beside the event loop, which a slow or hung volume must not stop."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_SLOW_SECONDS = 5.0

_log = logging.getLogger("mlxd.models")


class Scanner(Generic[T]):
    """Calls `scan` in a thread of its own, one call at a time, for all who ask meanwhile.

    `take` gets each result. The thread does not keep the process from exiting.
    """

    def __init__(self, scan: Callable[[], T], take: Callable[[T], None]) -> None:
        self._scan = scan
        self._take = take
        self._next: asyncio.Future[None] | None = None
        self._busy = self._told = False

    async def run(self, seconds: float) -> bool:
        """Return True after a call that began no earlier than now, False after `seconds`."""
        wanted = self._next
        if wanted is None:
            wanted = self._next = asyncio.get_running_loop().create_future()
            if not self._busy:
                self._begin()
        done, _ = await asyncio.wait([wanted], timeout=seconds)
        return bool(done)

    def _begin(self) -> None:
        assert self._next is not None  # noqa: S101  both callers have made one
        loop = asyncio.get_running_loop()
        self._busy, self._current, self._next = True, self._next, None
        slow = loop.call_later(_SLOW_SECONDS, self._tell)
        arguments = (loop, slow)
        threading.Thread(target=self._work, args=arguments, daemon=True, name="scan").start()

    def _work(self, loop: asyncio.AbstractEventLoop, slow: asyncio.TimerHandle) -> None:
        found: list[T] = []
        try:
            found.append(self._scan())
        finally:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._end, found, slow)

    def _end(self, found: list[T], slow: asyncio.TimerHandle) -> None:
        slow.cancel()
        self._busy = self._told = False
        for each in found:
            self._take(each)
        if not self._current.done():
            self._current.set_result(None)
        if self._next is not None:
            self._begin()

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            _log.warning(
                "the folders of models do not answer (models.dirs); mlxd uses what it last found"
            )
