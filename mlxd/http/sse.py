"""The client's side of a stream of server-sent events.

The status line waits for the first event, so that an early failure still gets its proper status;
but not for long, because clients give up when they hear nothing. While there are no events,
comments tell the request's progress.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Send

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


@dataclass(frozen=True)
class Pace:
    """How many seconds the status line waits, and how many a stream may be silent."""

    hold: float = 2.0
    beat: float = 5.0


class EventWriter:
    """Writes one stream; two tasks use it, so a lock keeps their writes in order."""

    def __init__(self, send: Send, progress: Callable[[], str], pace: Pace) -> None:
        self._send = send
        self._progress = progress
        self._pace = pace
        self._now = asyncio.get_running_loop().time
        self._last_sent = self._now()
        self._started = False
        self._lock = asyncio.Lock()

    async def write(self, data: bytes) -> None:
        """Send `data`, after the status line if that has not been sent yet."""
        async with self._lock:
            if not self._started:
                self._started = True
                await self._send(
                    {"type": "http.response.start", "status": 200, "headers": _HEADERS}
                )
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._last_sent = self._now()

    async def beat(self) -> float:
        """Send a comment if one is due; return in how many seconds the next one is."""
        if self._due <= self._now():
            await self.write(f": {self._progress()}\n\n".encode())
        return self._due - self._now()

    @property
    def _due(self) -> float:
        return self._last_sent + (self._pace.beat if self._started else self._pace.hold)

    async def end(self) -> None:
        """Send the end of the body."""
        async with self._lock:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
