"""uvicorn's WebSockets with limits; imported with the first connection that wants one.

A message has the same limits as the body of a request, and the client must read what it is sent.
"""

import asyncio
import logging
import time
from typing import Any

from uvicorn._types import ASGISendEvent, WebSocketEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto.events import BytesMessage, CloseConnection, Request, TextMessage

from mlxd.http.connection_limits import LEAST_PIECE, ClientTimer, LimitedConfig, LimitedConnection
from mlxd.http.responses_socket import TURNS
from mlxd.processes import return_freed_memory_soon

_MOST_TOGETHER = 8
"""The limit on all messages that are arriving, as a multiple of the largest message."""
_TOO_SLOW, _TRY_AGAIN = 1008, 1013
_LARGE = 1_000_000
"""Bytes after which the memory of a connection is returned to the system, soon after its end."""
_AT_ONCE, _SECONDS_AT_ONCE = 1024, 0.005
"""How many bytes are parsed at once, and how long one connection before others get their turn."""

_log = logging.getLogger(__name__)
_log.setLevel(logging.WARNING)  # the access log has the rest


class WebSocketProtocol(LimitedConnection, WSProtocol):
    """One connection. Its scope has a method too, so that the middleware can treat it like HTTP."""

    config: LimitedConfig
    _received = _seen = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger = _log
        self._rest_timer = ClientTimer(self.loop, self._check_late)
        self._unparsed = bytearray()
        self._parsing: asyncio.Handle | None = None

    @property
    def busy(self) -> bool:
        """Whether a turn waits or runs, or a message is arriving."""
        scope = getattr(self, "scope", None)
        comes = self.buffer.length > 0 or bool(self._unparsed)
        return comes or bool(scope and scope["state"].get(TURNS))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self.idle_since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; nothing that the client has sent waits for the garbage collector."""
        while not self.queue.empty():
            self.queue.get_nowait()
        super().connection_lost(exc)
        self._rest_timer.stop()
        self.buffer.clear()
        self._unparsed.clear()
        self.conn = None  # type: ignore[assignment]  # nothing is sent any more
        if self._received >= _LARGE:
            return_freed_memory_soon(self.loop)

    def handle_connect(self, event: Request) -> None:
        """Begin to serve the connection."""
        super().handle_connect(event)
        self.scope["method"] = "GET"  # type: ignore[typeddict-unknown-key]

    def data_received(self, data: bytes) -> None:
        """Take what has come; the frames in it may be so small that parsing all takes long."""
        self._received += len(data)
        self._unparsed += data
        if self._parsing is None:
            self._parse()

    async def receive(self) -> WebSocketEvent:
        """Return the next message; only then are others read."""
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self._go_on()
        return message

    def _parse(self) -> None:
        """Parse some of what has come, and the rest after others had their turn."""
        self._parsing = None
        until = time.monotonic() + _SECONDS_AT_ONCE
        while self._unparsed and self._may_read and time.monotonic() < until:
            piece = bytes(self._unparsed[:_AT_ONCE])
            del self._unparsed[:_AT_ONCE]
            super().data_received(piece)
        self._go_on()

    def _go_on(self) -> None:
        """Parse or read on, as soon as messages and their answers are taken."""
        if self.transport.is_closing():
            self._unparsed.clear()
        elif self._unparsed or not self._may_read:
            self.transport.pause_reading()
            if self._may_read and self._parsing is None:
                self._parsing = self.loop.call_soon(self._parse)
        else:
            self.transport.resume_reading()

    @property
    def _may_read(self) -> bool:
        return not self.read_paused and self.writable.is_set()

    def handle_message(self, event: TextMessage | BytesMessage) -> None:
        """Take a piece of a message."""
        before = self.buffer.length
        super().handle_message(event)
        if self.buffer.length == 0 or self.close_sent:
            self.idle_since = self.loop.time()
            self._rest_timer.stop()
            return
        if not self._rest_timer.running:
            self._seen = 0
            self._expect()
        if self.buffer.length // LEAST_PIECE == before // LEAST_PIECE:
            return
        others = (each for each in self.connections if isinstance(each, WebSocketProtocol))
        together = sum(each.buffer.length for each in others)
        if together > max(_MOST_TOGETHER * self.config.ws_max_size, self.buffer.length):
            self._end(_TRY_AGAIN, "too many large messages are coming")

    async def send(self, message: ASGISendEvent) -> None:
        """Send what the application says; raise ClientDisconnected once the close was sent."""
        await self.writable.wait()
        if self.close_sent or self.transport.is_closing():
            raise ClientDisconnected
        await super().send(message)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        self._go_on()

    def _expect(self) -> None:
        self._rest_timer.start(self.config.limits.body_seconds)

    def _check_late(self) -> None:
        came, self._seen = self.buffer.length - self._seen, self.buffer.length
        if came >= LEAST_PIECE or self.read_paused:
            self._expect()
        else:
            self._end(_TOO_SLOW, "the message did not come in time")

    def _end(self, code: int, reason: str) -> None:
        """Close the connection, and drop the message that was arriving."""
        self.buffer.clear()
        self._rest_timer.stop()
        if self.close_sent or self.transport.is_closing():
            return
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(self.conn.send(CloseConnection(code=code, reason=reason)))
        self.transport.close()
