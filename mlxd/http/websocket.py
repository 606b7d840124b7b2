"""uvicorn's WebSockets with limits; imported with the first connection that wants one.

A message has the same limits as the body of a request, and the client must read what it is sent.
"""

import asyncio
import logging
from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto.events import BytesMessage, CloseConnection, Request, TextMessage

from mlxd.http.connection_limits import LEAST_PIECE, ClientTimer, LimitedConfig, LimitedConnection
from mlxd.http.responses_socket import TURNS

_MOST_TOGETHER = 8
"""The limit on all messages that are arriving, as a multiple of the largest message."""
_TOO_SLOW, _TRY_AGAIN = 1008, 1013

_log = logging.getLogger(__name__)
_log.setLevel(logging.WARNING)  # the access log has the rest


class WebSocketProtocol(LimitedConnection, WSProtocol):
    """One connection. Its scope has a method too, so that the middleware can treat it like HTTP."""

    config: LimitedConfig
    _seen = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger = _log
        self._rest_timer = ClientTimer(self.loop, self._check_late)

    @property
    def busy(self) -> bool:
        """Whether a turn waits or runs, or a message is arriving."""
        scope = getattr(self, "scope", None)
        return self.buffer.length > 0 or bool(scope and scope["state"].get(TURNS))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self.idle_since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._rest_timer.stop()

    def handle_connect(self, event: Request) -> None:
        """Begin to serve the connection."""
        super().handle_connect(event)
        self.scope["method"] = "GET"  # type: ignore[typeddict-unknown-key]

    def handle_message(self, event: TextMessage | BytesMessage) -> None:
        """Take a piece of a message."""
        super().handle_message(event)
        if self.buffer.length == 0 or self.close_sent:
            self.idle_since = self.loop.time()
            self._rest_timer.stop()
            return
        if not self._rest_timer.running:
            self._seen = 0
            self._expect()
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
