"""uvicorn, as the daemon uses it."""

import asyncio
import re
import socket
import ssl
from typing import Any

import httptools
import uvicorn
from starlette.types import ASGIApp

from mlxd.errors import InvalidRequest
from mlxd.http.connection_limits import LimitedConfig, LimitedProtocol, Limits
from mlxd.http.handshake import Handshake

_LOOK_SECONDS = 0.01
_NEXT_REQUEST_SECONDS = 0.5
_USUAL = Limits()
_SOCKET_PATHS = (b"/v1/responses", b"/responses")
_PING_SECONDS = 60.0


class HttpServer(uvicorn.Server):
    """uvicorn's server on given sockets: asleep while idle, and without signal handlers.

    No connection goes beyond `limits`.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits = _USUAL, *, max_message: int = 32_000_000
    ) -> None:
        """Take the application, and how many bytes a message over a WebSocket may have."""
        super().__init__(
            LimitedConfig(
                app,
                limits,
                http=_Protocol,
                ws="none",  # as uvicorn would load it; see `handle_websocket_upgrade`
                ws_max_size=max_message,
                ws_ping_interval=_PING_SECONDS,
                ws_ping_timeout=_PING_SECONDS,
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                # Longer than clients keep theirs, so that none is closed just as it is reused.
                timeout_keep_alive=75,
            )
        )
        self._stopped = asyncio.Event()

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Serve HTTPS instead of HTTP."""

        def begin(**parts: Any) -> Handshake:
            return Handshake(_Protocol(**parts), context)

        self.config.load()
        self.config.http_protocol_class = begin  # type: ignore[assignment]

    @property
    def busy(self) -> bool:
        """Whether a request is being served."""
        return any(connection.busy for connection in self._connections())

    def limit(self, limits: Limits, max_message: int) -> None:
        """Take other limits for what comes."""
        if isinstance(self.config, LimitedConfig):
            self.config.limits = limits
            self.config.ws_max_size = max_message

    @property
    def requests(self) -> int:
        """The number of requests since the start."""
        return self.server_state.total_requests

    async def hand_over(self, seconds: float) -> None:
        """Leave new connections to the next process that listens on these sockets.

        Open connections are closed after their current request, for which this waits at most
        `seconds`. Idle ones may begin one more request for a moment.
        """
        for server in self.servers:
            server.close()
        for connection in self._connections():
            connection.retire()
        clock = asyncio.get_running_loop().time
        end, moment = clock() + seconds, clock() + _NEXT_REQUEST_SECONDS
        while (now := clock()) < end:
            if not self.busy and not (now < moment and self._connections()):
                break
            await asyncio.sleep(_LOOK_SECONDS)

    def _connections(self) -> "list[_Protocol | Handshake]":
        connections: set[Any] = self.server_state.connections
        return [each for each in connections if isinstance(each, (_Protocol, Handshake))]

    def stop(self, grace: float) -> None:
        """Stop accepting connections, and abort those that are open after `grace` seconds."""
        asyncio.get_running_loop().call_later(grace, self._abort_connections)
        self._stopped.set()

    def _abort_connections(self) -> None:
        connections: set[Any] = self.server_state.connections
        for connection in list(connections):
            connection.abort()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve `sockets` until `stop`."""
        await self._serve(sockets)

    async def main_loop(self) -> None:
        """Sleep until `stop`; the original wakes up ten times a second."""
        await self.on_tick(0)
        await self._stopped.wait()


class _Protocol(LimitedProtocol):
    """uvicorn's protocol, with our error replies for malformed HTTP, and with few upgrades.

    RFC 9110, 7.8, allows a server to ignore an offered upgrade, but httptools stops at it.
    """

    def on_headers_complete(self) -> None:
        before = self.cycle
        self._use_origin_form()
        super().on_headers_complete()
        cycle = self.cycle
        if cycle is before:  # an upgrade, see `data_received`
            return
        cycle.transport = _WhileOpen(self.transport)
        if self.scope["http_version"] == "1.0":
            # RFC 9112, 6.1: no chunks; the end of the connection is the end of the body.
            cycle.chunked_encoding = False
            cycle.expected_content_length = _AnyLength()
            cycle.waiting_for_100_continue = False
        if self.retired:
            cycle.keep_alive = False

    def _use_origin_form(self) -> None:
        """Take `GET http://HOST/PATH` for `GET /PATH` to that host, as RFC 9112, 3.2.2, says.

        `OPTIONS *` is about the whole server, and becomes `OPTIONS /`.
        """
        if self.url == b"*":
            self.url = b"/"
        url = httptools.parse_url(self.url)
        if url.host is None or self.parser.get_method() == b"CONNECT":
            return
        authority = self.url.partition(b"://")[2]
        host = re.split(rb"[/?#]", authority, maxsplit=1)[0].rpartition(b"@")[2]
        self.headers[:] = [header for header in self.headers if header[0] != b"host"]
        self.headers.append((b"host", host))
        self.url = (url.path or b"/") + (b"?" + url.query if url.query else b"")

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._wants_websocket():
                self.handle_websocket_upgrade()
                rest, protocol = data[upgrade.args[0] :], self.transport.get_protocol()
                if rest and isinstance(protocol, asyncio.Protocol):
                    protocol.data_received(rest)
                return
            self.data_received(self._head_without_upgrade() + data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("the request is not valid HTTP")
        else:
            self.watch(len(data))

    def _wants_websocket(self) -> bool:
        wanted = (b"upgrade", b"websocket") in ((n, v.lower()) for n, v in self.headers)
        path = httptools.parse_url(self.url).path.rstrip(b"/")
        return wanted and self.parser.get_method() == b"GET" and path in _SOCKET_PATHS

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to the protocol of WebSockets."""
        from mlxd.http.websocket import WebSocketProtocol  # few daemons ever need it

        self.rest_timer.stop()  # that protocol has its own limits
        self.ws_protocol_class = WebSocketProtocol
        super().handle_websocket_upgrade()

    def _should_upgrade(self) -> bool:
        """Whether uvicorn must ignore the request, because `data_received` parses it again."""
        return self.parser.get_method() != b"CONNECT"

    def _head_without_upgrade(self) -> bytes:
        start = self.parser.get_method(), self.url, self.parser.get_http_version().encode()
        headers = [header for header in self.headers if header[0] != b"upgrade"]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (*start, _lines(headers))

    def send_400_response(self, msg: str) -> None:
        self.refuse(InvalidRequest(msg))


class _WhileOpen(asyncio.Transport):
    """A transport to which nothing is written once it is closed; uvloop calls that an error.

    The application learns of the end a moment later.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class _AnyLength(int):
    """Stands for the length of a body that nobody knows, where uvicorn counts down to zero."""

    def __lt__(self, _sent: int) -> bool:
        return False

    def __sub__(self, _sent: int) -> "_AnyLength":
        return self


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)
