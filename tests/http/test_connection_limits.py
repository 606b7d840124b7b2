"""What a connection may hold, and how long a client may take, on real sockets."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator

import pytest

from mlxd.http.app import public_app
from mlxd.http.connection_limits import MAX_HEAD, Limits
from mlxd.http.server import HttpServer
from tests.support.http_fakes import FakePool, make_dependencies, text

HEAD = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
BODY = json.dumps({"prompt": "Hi", "stream": True}).encode()
GOOD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"

Address = tuple[str, int]


@contextlib.asynccontextmanager
async def served(pool: FakePool, limits: Limits) -> AsyncIterator[Address]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(public_app(make_dependencies(pool)), limits)
    serving = asyncio.create_task(server.serve([listener]))
    async with asyncio.timeout(20):
        yield listener.getsockname()
    server.stop(grace=0.05)
    await serving


async def answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Return the status of a reply and the code of its error, at the end of the connection."""
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    error = json.loads(body).get("error", {})
    return int(head.split()[1]), error.get("code") or error.get("type")


async def is_well(address: Address) -> bool:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(GOOD)
    line = await reader.readline()
    writer.close()
    return b" 200 " in line


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * MAX_HEAD,
        GOOD[:-2] + b"X: " + b"x" * MAX_HEAD,
        GOOD[:-2] + b"X: y\r\n" * (MAX_HEAD // 6),
        GOOD[:-2] + b"X: y\r\n" * (MAX_HEAD // 6) + b"\r\n",
    ],
    ids=["target", "header", "many headers", "whole"],
)
async def test_a_head_too_large(pool: FakePool, head: bytes) -> None:
    """vLLM's CVE-2025-48956."""
    async with served(pool, Limits()) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(head)
        assert await answer(reader) == (431, "head_too_large")
        assert await is_well(address)
        writer.close()


async def test_a_head_too_large_while_a_reply_is_under_way(pool: FakePool) -> None:
    pool.script = [asyncio.Event()]
    async with served(pool, Limits()) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(HEAD % (b"/v1/completions", len(BODY)) + BODY)
        await pool.submitted.wait()
        writer.write(b"GET /" + b"x" * MAX_HEAD)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


async def test_a_head_may_be_large(pool: FakePool) -> None:
    async with served(pool, Limits()) as address:
        reader, writer = await asyncio.open_connection(*address)
        for _ in range(2):
            writer.write(GOOD[:-2] + b"X: " + b"x" * (MAX_HEAD - 200) + b"\r\n\r\n")
            assert b" 200 " in await reader.readline()
            await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"}")
        writer.close()


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", None),
        (b"\r\n", None),
        (b"GET /health HT", (408, "request_timeout")),
        (GOOD[:-2], (408, "request_timeout")),
        (HEAD % (b"/v1/completions", 100) + b"{", (408, "request_timeout")),
        (HEAD % (b"/v1/messages", 100) + b"{", (408, "invalid_request_error")),
    ],
    ids=["nothing", "blank line", "line", "headers", "body", "body of Messages"],
)
async def test_a_client_that_sends_nothing_more(
    pool: FakePool, sent: bytes, expected: tuple[int, str] | None
) -> None:
    async with served(pool, Limits(head_seconds=0.05, body_seconds=0.05)) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        if expected is None:
            assert await reader.read() == b""
        else:
            assert await answer(reader) == expected
        writer.close()


async def test_a_body_that_goes_on_takes_its_time(pool: FakePool) -> None:
    body = BODY + b" " * 2_000_000
    async with served(pool, Limits(body_seconds=0.1)) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(HEAD % (b"/v1/completions", len(body)))
        for start in range(0, len(body), 400_000):
            writer.write(body[start : start + 400_000])
            await asyncio.sleep(0.05)
        assert b" 200 " in await reader.readline()
        writer.close()


async def test_streams_that_nobody_reads_end(pool: FakePool) -> None:
    pool.script = [text("x" * 1_000_000)] * 100
    async with served(pool, Limits(read_seconds=0.1)) as address:
        _, writer = await asyncio.open_connection(*address)
        writer.transport.pause_reading()
        writer.write(HEAD % (b"/v1/completions", len(BODY)) + BODY)
        await pool.submitted.wait()
        await pool.accepted[0].closed.wait()
        writer.close()


async def test_a_client_that_slept_with_the_machine_gets_its_time_again(
    pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxd.http.connection_limits.ASLEEP_SECONDS", 0.1)
    async with served(pool, Limits(head_seconds=0.2)) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(GOOD[:-2])
        while not await is_well(address):  # the server has read both
            pass
        time.sleep(0.5)  # noqa: ASYNC251  the event loop, which both share, stands still
        await asyncio.sleep(0)
        writer.write(GOOD[-2:])
        assert b" 200 " in await reader.readline()
        writer.close()


async def test_a_request_takes_as_long_as_it_must(pool: FakePool) -> None:
    gate = asyncio.Event()
    pool.script = [gate, *pool.script]
    limits = Limits(head_seconds=0.05, body_seconds=0.05, read_seconds=0.05)
    async with served(pool, limits) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(HEAD % (b"/v1/completions", len(BODY)) + BODY + b"GET ")
        await asyncio.sleep(0.2)
        gate.set()
        assert b" 200 " in await reader.readline()
        writer.close()


async def test_idle_connections_make_room(pool: FakePool, caplog: pytest.LogCaptureFixture) -> None:
    async with served(pool, Limits(connections=4)) as address:
        connections = [await asyncio.open_connection(*address) for _ in range(20)]
        assert await is_well(address)
        for _, writer in connections:
            writer.close()
    assert caplog.text.count("4 connections are open") == 1


async def test_busy_connections_stay(pool: FakePool) -> None:
    gate = asyncio.Event()
    pool.script = [gate, *pool.script]
    async with served(pool, Limits(connections=3)) as address:
        busy = []
        for number in range(3):
            busy.append(await asyncio.open_connection(*address))
            busy[-1][1].write(HEAD % (b"/v1/completions", len(BODY)) + BODY)
            while len(pool.accepted) <= number:
                await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(*address)
        assert await answer(reader) == (503, "too_many_connections")
        writer.close()
        gate.set()
        for reader, writer in busy:
            assert b" 200 " in await reader.readline()
            writer.close()


CHUNKED = GOOD.replace(b"GET /health", b"POST /v1/completions").replace(
    b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize(
    "rest", [b"2\r\n{}\r\n0\r\nX: ", b"2;x="], ids=["trailer", "extension of a chunk"]
)
async def test_what_comes_beside_a_body_has_an_end(pool: FakePool, rest: bytes) -> None:
    async with served(pool, Limits()) as address:
        _, writer = await asyncio.open_connection(*address)
        writer.write(CHUNKED + rest)
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"x" * 50_000)
                await asyncio.wait_for(writer.drain(), 10)
        assert await is_well(address)
        writer.close()


@pytest.mark.parametrize(
    ("count", "size", "status"), [(9000, 1, 200), (20_000, 100, 200), (20_000, 1, 400)]
)
async def test_a_body_may_come_in_chunks_that_are_not_too_many_and_too_small(
    pool: FakePool, count: int, size: int, status: int
) -> None:
    pieces = (BODY, *[b" " * size] * count)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    async with served(pool, Limits()) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(CHUNKED + chunks + b"0\r\nX: y\r\n\r\n")
        assert b" %d " % status in await reader.readline()
        writer.close()


async def test_requests_that_are_sent_ahead_have_a_number(pool: FakePool) -> None:
    pool.script = [asyncio.Event()]
    async with served(pool, Limits()) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(HEAD % (b"/v1/completions", len(BODY)) + BODY)
        await pool.submitted.wait()
        writer.write(GOOD * 1000)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        await pool.accepted[0].closed.wait()
        writer.close()
