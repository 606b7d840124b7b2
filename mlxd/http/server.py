"""uvicorn, as the daemon uses it."""

import asyncio
import socket

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mlxd.errors import InvalidRequest
from mlxd.http.errors import error_response


class Server(uvicorn.Server):
    """uvicorn's server on our sockets: asleep while idle, and without signal handlers."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                # Longer than clients do, so that none is closed while it is used again.
                timeout_keep_alive=75,
            )
        )
        self._stopped = asyncio.Event()

    def stop(self, grace: float) -> None:
        """Stop accepting, and end once the connections have; abort them after `grace` seconds."""
        asyncio.get_running_loop().call_later(grace, self._abort_connections)
        self._stopped.set()

    def _abort_connections(self) -> None:
        for connection in self.server_state.connections:
            connection.transport.abort()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve `sockets` until `stop`."""
        await self._serve(sockets)

    async def main_loop(self) -> None:
        """Sleep until `stop`; the original wakes up ten times a second."""
        await self.on_tick(0)
        await self._stopped.wait()


class _Protocol(HttpToolsProtocol):
    """uvicorn's, with errors of ours for malformed HTTP, and no upgrades.

    RFC 9110, 7.8, lets a server ignore the offer of an upgrade, but httptools stops at it.
    """

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.data_received(self._head_without_upgrade() + data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("the request is not valid HTTP")

    def _should_upgrade(self) -> bool:
        """Whether uvicorn has to leave the request alone, as `data_received` sends it again."""
        return self.parser.get_method() != b"CONNECT"

    def _head_without_upgrade(self) -> bytes:
        start = self.parser.get_method(), self.url, self.parser.get_http_version().encode()
        headers = [header for header in self.headers if header[0] != b"upgrade"]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (*start, _lines(headers))

    def send_400_response(self, msg: str) -> None:
        response = error_response(InvalidRequest(msg))
        headers = [*response.raw_headers, (b"connection", b"close")]
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\n%b\r\n%b" % (_lines(headers), bytes(response.body))
        )
        self.transport.close()


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)
