"""An answer as a stream of server-sent events.

The status line waits until there is something to show for it, so that an early failure still gets
its proper status; but not for long, because a client that hears nothing gives up. While nothing
comes, comments tell how far the request is.
"""

import asyncio
from dataclasses import dataclass

from starlette.types import Receive, Send

from mlxd.api.dialect import ReplyBuilder
from mlxd.http.connection import ClientGone, beside_client
from mlxd.pool.request import ActiveRequest

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


@dataclass(frozen=True)
class Pace:
    """In seconds: how long the status line waits, and, no shorter, how long a stream is silent."""

    hold: float = 2.0
    beat: float = 5.0


async def stream(
    answer: ActiveRequest, builder: ReplyBuilder, receive: Receive, out: "EventWriter", pace: Pace
) -> None:
    """Send `answer` to `out` as `builder` shapes it, until its end.

    Raises:
        ClientGone: the client disconnected before the end.
        MlxdError: what the answer raised, before or after the first byte was sent.
    """
    async with beside_client(receive, _pump(answer, builder, out)) as (pump, gone):
        due = out.last_sent + pace.hold
        while True:
            done, _ = await asyncio.wait(
                (pump, gone),
                timeout=due - out.now(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if pump in done:
                return pump.result()
            if gone in done:
                raise ClientGone
            if not out.started or out.now() >= out.last_sent + pace.beat:
                await out.write(f": {answer.progress}\n\n".encode())
            due = out.last_sent + pace.beat


async def _pump(answer: ActiveRequest, builder: ReplyBuilder, out: "EventWriter") -> None:
    async for events in answer:
        if data := builder.stream(events):
            await out.write(data)
    await out.end()


class EventWriter:
    """The client's side of a stream; two tasks write to it, so one lock keeps their order."""

    def __init__(self, send: Send) -> None:
        self.started = False
        self.now = asyncio.get_running_loop().time
        self.last_sent = self.now()
        self._send = send
        self._lock = asyncio.Lock()

    async def write(self, data: bytes) -> None:
        """Send `data`, after the status line if that has not been sent."""
        async with self._lock:
            if not self.started:
                self.started = True
                await self._send(
                    {"type": "http.response.start", "status": 200, "headers": _HEADERS}
                )
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self.last_sent = self.now()

    async def end(self) -> None:
        """Send the end of the body."""
        async with self._lock:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
