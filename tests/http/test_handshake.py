"""Connections that want TLS and are not yet through: they are counted, and end in time."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop

from mlxd.http.app import public_app
from mlxd.http.connection_limits import Limits
from mlxd.http.server import HttpServer
from mlxd.http.tls import Certificate
from tests.support.certificates import make_certificate, needs_openssl
from tests.support.http_fakes import FakePool, make_dependencies

pytestmark = needs_openssl

POST = (
    b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    b'Content-Length: 16\r\n\r\n{"prompt": "Hi"}'
)
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

Address = tuple[str, int]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest):
    """Run a coroutine on each event loop; the daemon's is uvloop."""
    return lambda coroutine: request.param(asyncio.wait_for(coroutine, 20))


@contextlib.asynccontextmanager
async def served(
    folder: Path, limits: Limits, pool: FakePool | None = None, grace: float = 0.1
) -> AsyncIterator[Address]:
    make_certificate(folder)
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(public_app(make_dependencies(pool or FakePool())), limits)
    server.use_tls(Certificate(str(folder / "cert.pem"), str(folder / "key.pem")).context)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield listener.getsockname()
    finally:
        server.stop(grace)
        await serving


class Client:
    """TLS by hand, which can stop anywhere."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._sent)

    def hello(self) -> bytes:
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._sent.read()

    async def finish(self, request: bytes = GET) -> bytes:
        """Return the last message of the handshake and a request, encrypted."""
        while data := await self.reader.read(65536):
            self._received.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
                break
        self._tls.write(request)
        return self._sent.read()

    async def answer(self) -> bytes:
        while data := await self.reader.read(65536):
            self._received.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                return self._tls.read(65536)
        return b""


async def connect(address: Address) -> Client:
    return Client(*await asyncio.open_connection(*address))


async def ask(address: Address, request: bytes = GET) -> Client:
    client = await connect(address)
    client.writer.write(client.hello())
    client.writer.write(await client.finish(request))
    return client


async def is_well(address: Address) -> bool:
    client = await ask(address)
    answer = await client.answer()
    client.writer.close()
    return b" 200 " in answer


@pytest.mark.parametrize("sent", [0, 20, None], ids=["nothing", "torn", "hello"])
def test_one_that_is_never_finished_ends(run, tmp_path: Path, sent: int | None) -> None:
    async def main() -> None:
        async with served(tmp_path, Limits(head_seconds=0.2)) as address:
            client = await connect(address)
            client.writer.write(client.hello()[:sent])
            await client.reader.read()
            assert await is_well(address)
            client.writer.close()

    run(main())


def test_they_count_as_connections(run, tmp_path: Path, caplog) -> None:
    async def main() -> None:
        async with served(tmp_path, Limits(connections=4)) as address:
            clients = [await connect(address) for _ in range(20)]
            assert await is_well(address)
            for client in clients[:16]:
                assert await client.reader.read() == b""
            for client in clients:
                client.writer.close()

    run(main())
    assert caplog.text.count("4 connections are open") == 1


def test_beside_busy_connections_it_ends_with_an_error(run, tmp_path: Path, pool) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        pool.script = [gate, *pool.script]
        async with served(tmp_path, Limits(connections=2), pool) as address:
            busy = []
            for number in range(2):
                busy.append(await ask(address, POST))
                while len(pool.accepted) <= number:
                    await asyncio.sleep(0.01)
            waiting = await connect(address)
            late = await ask(address)
            assert b"too_many_connections" in await late.answer()
            assert await waiting.reader.read() == b""
            gate.set()
            for client in busy:
                assert b" 200 " in await client.answer()
            for client in (*busy, waiting, late):
                client.writer.close()

    run(main())


def test_a_request_that_comes_with_the_end_of_it(run, tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path, Limits()) as address:
            for size in (1, 7, 100_000):
                client = await connect(address)
                hello = client.hello()
                for start in range(0, len(hello), size):
                    client.writer.write(hello[start : start + size])
                    await client.writer.drain()
                    await asyncio.sleep(0)
                client.writer.write(await client.finish())
                assert b" 200 " in await client.answer()
                client.writer.close()

    run(main())


def test_clients_that_leave_or_speak_otherwise_are_no_error(run, tmp_path: Path, caplog) -> None:
    async def main() -> None:
        async with served(tmp_path, Limits()) as address:
            for sent in (b"", GET, b"\x16\x03\x01", b"\0" * 500):
                client = await connect(address)
                client.writer.write(sent)
                client.writer.close()
            client = await ask(address)
            client.writer.transport.abort()
            assert await is_well(address)

    run(main())
    assert caplog.text == ""


def test_a_server_that_stops_waits_for_none(run, tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path, Limits(), grace=60) as address:
            begun = await connect(address)
            idle = await ask(address, GET.replace(b"Connection: close\r\n", b""))
            assert b" 200 " in await idle.answer()
            idle.writer.transport.pause_reading()
        for client in (begun, idle):
            client.writer.transport.abort()

    run(main())
