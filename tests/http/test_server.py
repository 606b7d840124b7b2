"""The server on a real socket, spoken to byte by byte."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import pytest

from mlxd.http.app import public_app
from mlxd.http.server import HttpServer
from tests.support.http_fakes import FakePool, make_dependencies, text

CHAT = json.dumps({"messages": [{"role": "user", "content": "Hi"}]}).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(
    CHAT
)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def connection(pool) -> AsyncIterator[Connection]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(public_app(make_dependencies(pool)))
    serving = asyncio.create_task(server.serve([listener]))
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        yield reader, writer
        server.stop(grace=0.1)
        await serving
        writer.close()


async def reply_on(reader: asyncio.StreamReader) -> tuple[bytes, dict]:
    """Give the status line of a reply, and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    (length,) = (line[16:] for line in lines if line.startswith(b"content-length: "))
    return head.split(b"\r\n")[0], json.loads(await reader.readexactly(int(length)))


@pytest.mark.parametrize(
    "nonsense",
    [
        b"NONSENSE\r\n\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_malformed_http_is_answered_like_every_mistake(
    connection: Connection, nonsense: bytes
) -> None:
    reader, writer = connection
    writer.write(nonsense)
    status, body = await reply_on(reader)
    assert status == b"HTTP/1.1 400 Bad Request"
    assert body["error"]["message"] == "the request is not valid HTTP"
    assert body["error"]["type"] == "invalid_request_error"
    assert await reader.read() == b""


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
async def test_an_offered_upgrade_is_declined_and_the_request_answered(
    connection: Connection, protocol: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = connection
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\n\r\n" % protocol
    for _ in range(2):
        for piece in (HEAD, offer, CHAT[:10], CHAT[10:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        status, body = await reply_on(reader)
        assert status == b"HTTP/1.1 200 OK"
        assert body["choices"][0]["message"]["content"] == "Hello"
    writer.write(HEAD + offer + CHAT + HEAD + b"\r\n" + CHAT)
    for _ in range(2):
        assert (await reply_on(reader))[0] == b"HTTP/1.1 200 OK"
    assert "pip install" not in caplog.text


async def test_a_client_that_reads_nothing_does_not_keep_the_server(
    connection: Connection, pool: FakePool
) -> None:
    _, writer = connection
    writer.transport.pause_reading()
    pool.script = [text("x" * 1_000_000)] * 100
    body = json.dumps(json.loads(CHAT) | {"stream": True}).encode()
    writer.write(HEAD.replace(b"%d" % len(CHAT), b"%d" % len(body)) + b"\r\n" + body)
    await pool.submitted.wait()
    # That the server ends in spite of it is what the fixture waits for.
