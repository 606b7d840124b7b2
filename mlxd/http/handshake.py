"""TLS handshakes, with the limits of all connections: on their number, and on their time."""

import asyncio
import ssl
from socket import socket
from typing import Any

from mlxd.errors import MlxdError
from mlxd.http.connection_limits import LimitedConnection, LimitedProtocol


class Handshake(LimitedConnection):
    """One connection until its TLS handshake is done, when `protocol` takes over.

    asyncio's own server can do the handshake too, but would not tell us of it, so nobody could
    count it.
    """

    busy = closing = False
    _task: asyncio.Task[Any]

    def __init__(self, protocol: LimitedProtocol, context: ssl.SSLContext) -> None:
        self.protocol = protocol
        self.config = protocol.config
        self.loop = protocol.loop
        self.connections = protocol.connections
        self._context = context

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the handshake of a TCP connection, or hand over a connection that speaks TLS."""
        if transport.get_extra_info("sslcontext") is None:
            self._begin(transport)
        else:
            self.connections.discard(self)
            transport.set_protocol(self.protocol)
            self.protocol.connection_made(transport)

    def abort(self) -> None:
        """Close the connection."""
        self.connections.discard(self)
        self._task.cancel()

    shutdown = abort

    def refuse(self, error: MlxdError) -> None:
        """Do nothing: `protocol` will refuse it, and can tell the client why."""

    def retire(self) -> None:
        """Close the connection after its first request."""
        self.protocol.retire()

    def _begin(self, transport: asyncio.Transport) -> None:
        try:
            accepted: socket = transport.get_extra_info("socket").dup()
        except OSError:  # no more files can be opened
            return
        finally:
            transport.abort()  # before it reads what TLS must
        accepted.setblocking(False)
        shaking = self.loop.connect_accepted_socket(
            lambda: self,
            accepted,
            ssl=self._context,
            ssl_handshake_timeout=self.config.limits.head_seconds,
        )
        self._task = self.loop.create_task(shaking)

        def end(task: asyncio.Task[Any]) -> None:
            self.protocol.tasks.discard(task)
            self.connections.discard(self)
            if task.cancelled() or isinstance(task.exception(), OSError):  # TLS, TCP, or too late
                accepted.close()

        self._task.add_done_callback(end)
        self.protocol.tasks.add(self._task)
        self.connections.add(self)
        self.take_place()
