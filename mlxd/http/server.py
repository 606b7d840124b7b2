"""uvicorn, as the daemon uses it."""

import asyncio
import math
import socket

import uvicorn
from starlette.types import ASGIApp


class Server(uvicorn.Server):
    """uvicorn's server on our sockets: asleep while idle, and without signal handlers."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
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
        """Stop accepting, and end once the open connections have, in about `grace` seconds."""
        self.config.timeout_graceful_shutdown = math.ceil(grace)
        self._stopped.set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve `sockets` until `stop`."""
        await self._serve(sockets)

    async def main_loop(self) -> None:
        """Sleep until `stop`; the original wakes up ten times a second."""
        await self.on_tick(0)
        await self._stopped.wait()
