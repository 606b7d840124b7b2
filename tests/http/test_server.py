"""The server on a real socket, spoken to byte by byte."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import uvloop

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


def test_a_client_that_resets_its_connection_is_no_bug(
    pool: FakePool, caplog: pytest.LogCaptureFixture
) -> None:
    """uvloop, which the daemon runs on, raises where something is written after that."""
    pool.script = [gate := asyncio.Event(), *[text("x")] * 20]
    body = json.dumps(json.loads(CHAT) | {"stream": True}).encode()

    async def leave() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        server = HttpServer(public_app(make_dependencies(pool)))
        serving = asyncio.create_task(server.serve([listener]))
        client = socket.create_connection(listener.getsockname())
        client.send(HEAD.replace(b"%d" % len(CHAT), b"%d" % len(body)) + b"\r\n" + body)
        await pool.submitted.wait()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        gate.set()
        await pool.accepted[0].closed.wait()
        server.stop(grace=0.1)
        await serving

    uvloop.run(asyncio.wait_for(leave(), 20))
    assert caplog.text.count("aborted=yes") == caplog.text.count("POST")
    assert "unexpected" not in caplog.text


async def test_http_1_0_gets_no_chunks_and_the_end_of_the_connection(
    connection: Connection,
) -> None:
    """nginx speaks 1.0 to its servers by default, uvicorn#1360."""
    reader, writer = connection
    body = json.dumps(json.loads(CHAT) | {"stream": True}).encode()
    head = b"POST /v1/chat/completions HTTP/1.0\r\nConnection: keep-alive\r\n"
    writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    reply = await reader.read()
    head, events = reply.split(b"\r\n\r\n", 1)
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    assert events.startswith(b"data: {")
    assert events.endswith(b"data: [DONE]\n\n")


async def test_http_1_0_gets_the_length_of_a_whole_reply(connection: Connection) -> None:
    reader, writer = connection
    writer.write(b"GET /health HTTP/1.0\r\nExpect: 100-continue\r\n\r\n")
    status, body = await reply_on(reader)
    assert (status, body["status"]) == (b"HTTP/1.1 200 OK", "ok")
    assert await reader.read() == b""


async def test_a_client_that_waits_to_be_asked_for_the_body(connection: Connection) -> None:
    """curl does with a body over one megabyte."""
    reader, writer = connection
    writer.write(HEAD + b"Expect: 100-continue\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(CHAT)
    assert (await reply_on(reader))[0] == b"HTTP/1.1 200 OK"


async def test_a_body_in_chunks(connection: Connection) -> None:
    reader, writer = connection
    head = HEAD.partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\n"
    pieces = CHAT[:10], CHAT[10:], b""
    writer.write(head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces))
    assert (await reply_on(reader))[0] == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"http://localhost:80/health?x=1", b"evil.test", b"200 OK"),
        (b"http://localhost", b"evil.test", b"405 Method Not Allowed"),
        (b"http://evil.test/health", b"localhost", b"403 Forbidden"),
        (b"*", b"localhost", b"204 No Content"),
    ],
)
async def test_a_target_with_a_host_of_its_own(
    connection: Connection, target: bytes, host: bytes, status: bytes
) -> None:
    """As it goes to a proxy; its host counts, and the Host header does not."""
    reader, writer = connection
    method = b"OPTIONS" if target == b"*" else b"GET" if b"/health" in target else b"DELETE"
    writer.write(b"%b %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (method, target, host))
    assert await reader.readline() == b"HTTP/1.1 %b\r\n" % status
