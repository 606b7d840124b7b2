import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from tests.support.http_fakes import FakePool
from tests.support.key_file import KeyFile

Serve = Callable[[ASGIApp], Awaitable[httpx.AsyncClient]]


@pytest.fixture
def pool() -> FakePool:
    return FakePool()


@pytest.fixture
def key_file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve an application on a real TCP socket and return a client of it."""
    async with AsyncExitStack() as stack:

        async def start(app: ASGIApp) -> httpx.AsyncClient:
            listener = socket.create_server(("127.0.0.1", 0))
            port = listener.getsockname()[1]
            await stack.enter_async_context(_running(app, listener))
            client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10)
            return await stack.enter_async_context(client)

        yield start


def client_of(app: ASGIApp) -> httpx.AsyncClient:
    """Return a client that calls an application without a socket, as localhost:8080."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost:8080")


@pytest.fixture
def unix_socket() -> Iterator[str]:
    """A path; pytest's own temporary folders are too long for a Unix socket on a Mac."""
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        yield f"{folder}/d.sock"


@pytest.fixture
async def serve_unix(unix_socket: str) -> AsyncIterator[Serve]:
    """Serve an application on a real Unix socket and return a client of it."""
    async with AsyncExitStack() as stack:

        async def start(app: ASGIApp) -> httpx.AsyncClient:
            path = unix_socket
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            await stack.enter_async_context(_running(app, listener))
            transport = httpx.AsyncHTTPTransport(uds=path)
            client = httpx.AsyncClient(base_url="http://localhost", transport=transport)
            return await stack.enter_async_context(client)

        yield start


@asynccontextmanager
async def _running(app: ASGIApp, listener: socket.socket) -> AsyncIterator[None]:
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=5,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with listener:
        await server.startup(sockets=[listener])
        try:
            yield
        finally:
            await server.shutdown(sockets=[listener])
