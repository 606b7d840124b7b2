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

    `take` gets each result; a call that raises OSError has none. `silent` is whether a call takes
    long, which the log says of `folder`. The thread does not keep the process from exiting.
    """

    def __init__(self, scan: Callable[[], T], take: Callable[[T], None], folder: str) -> None:
        self._scan = scan
        self._take = take
        self._folder = folder
        self._fault: str | None = None
        self.silent = False
        self._next: asyncio.Future[None] | None = None
        self._busy = False

    async def run(self, seconds: float) -> bool:
        """Return True after a call that began no earlier than now, False after `seconds`.

        Nobody waits for a silent one.
        """
        wanted = self._next
        if wanted is None:
            wanted = self._next = asyncio.get_running_loop().create_future()
            if not self._busy:
                self._begin()
        done, _ = await asyncio.wait([wanted], timeout=0 if self.silent else seconds)
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
        fault: str | None = None
        try:
            found.append(self._scan())
        except OSError as error:
            fault = str(error)
        finally:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._end, found, fault, slow)

    def _end(self, found: list[T], fault: str | None, slow: asyncio.TimerHandle) -> None:
        slow.cancel()
        if self.silent:
            self.silent = False
            _log.info("%s answers again", self._folder)
        if fault and fault != self._fault:
            _log.warning("%s cannot be looked at: %s", self._folder, fault)
        self._busy, self._fault = False, fault
        for each in found:
            self._take(each)
        if not self._current.done():
            self._current.set_result(None)
        if self._next is not None:
            self._begin()

    def _tell(self) -> None:
        self.silent = True
        _log.warning(
            "%s does not answer (models.dirs); mlxd uses what it last found there", self._folder
        )
