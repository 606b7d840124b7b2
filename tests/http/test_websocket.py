"""What a WebSocket may hold, and how long its client may take, on real sockets."""

import asyncio
import json
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from mlxd.http.app import public_app
from mlxd.http.connection_limits import Limits
from mlxd.http.generate import Dependencies
from mlxd.http.server import HttpServer
from tests.support.http_fakes import STARTED, FakePool, make_dependencies, text
from tests.support.responses_socket import complete, events, refused, serving

TURN = {"type": "response.create", "input": "Hi", "store": False}


@asynccontextmanager
async def served(
    dependencies: Dependencies, limits: Limits, max_message: int = 100_000
) -> AsyncIterator[str]:
    app = public_app(dependencies)
    async with serving(HttpServer(app, limits, max_message=max_message)) as port:
        yield f"ws://127.0.0.1:{port}/v1/responses"


def begun(data: bytes, size: int) -> bytes:
    """Return the beginning of a message that has `size` bytes, more than 65535."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
    return b"\x81\xff" + struct.pack("!Q", size) + mask + masked


@pytest.mark.parametrize("sent", [b"{", b"{" * 50_000])
async def test_a_message_that_does_not_go_on_ends_the_connection(
    pool: FakePool, sent: bytes
) -> None:
    async with (
        served(make_dependencies(pool), Limits(body_seconds=0.05)) as url,
        connect(url) as ws,
    ):
        ws.transport.write(begun(sent, 90_000))
        with pytest.raises(ConnectionClosed) as caught:
            await asyncio.wait_for(ws.recv(), 10)
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (
        1008,
        "the message did not come in time",
    )


async def test_a_turn_takes_as_long_as_it_must(pool: FakePool) -> None:
    gate = asyncio.Event()
    pool.script = [gate, *pool.script]
    limits = Limits(head_seconds=0.05, body_seconds=0.05, read_seconds=0.05)
    async with served(make_dependencies(pool), limits) as url, connect(url) as ws:
        await ws.send(json.dumps(TURN))
        await pool.submitted.wait()
        await asyncio.sleep(0.2)
        gate.set()
        assert (await events(ws))[-1]["type"] == "response.completed"


async def test_turns_that_nobody_reads_end(pool: FakePool) -> None:
    pool.script = [STARTED, *[text("x" * 1_000_000)] * 100]
    async with (
        served(make_dependencies(pool), Limits(read_seconds=0.1)) as url,
        connect(url) as ws,
    ):
        await ws.send(json.dumps(TURN))
        await pool.submitted.wait()
        ws.transport.pause_reading()
        await asyncio.wait_for(pool.accepted[0].closed.wait(), 10)
        ws.transport.abort()


async def test_messages_count_like_bodies(pool: FakePool) -> None:
    pool.script = [gate := asyncio.Event(), *pool.script]
    dependencies = make_dependencies(pool, max_queue=2)
    async with (
        served(dependencies, Limits()) as url,
        connect(url) as first,
        connect(url) as second,
    ):
        for _ in range(3):  # the third one is refused when its turn comes
            await first.send(json.dumps(TURN))
        await pool.submitted.wait()
        assert await refused(second) == (429, "queue_full")
        gate.set()
        ends = [(await events(first))[-1]["type"] for _ in range(3)]
        assert ends == ["response.completed", "response.completed", "error"]
        await complete(second, store=False)
    with dependencies.intake.holding(), dependencies.intake.holding():
        pass  # both places are free again


async def test_large_messages_that_are_arriving_have_a_limit_together(pool: FakePool) -> None:
    async with served(make_dependencies(pool), Limits(), max_message=70_000) as url:
        sockets = [await connect(url) for _ in range(9)]
        for each in sockets:
            each.transport.write(begun(b"x" * 69_000, 70_000))
        reading = [asyncio.create_task(each.recv()) for each in sockets]
        ended, others = await asyncio.wait(reading, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert [task.exception().rcvd.code for task in ended] == [1013]
        for each in sockets:
            each.transport.abort()
        await asyncio.wait(others)
        assert all(task.exception() for task in others)


async def test_connections_without_a_turn_make_room(pool: FakePool) -> None:
    pool.script = [gate := asyncio.Event(), *pool.script]
    async with (
        served(make_dependencies(pool), Limits(connections=2)) as url,
        connect(url) as busy,
    ):
        await busy.send(json.dumps(TURN))
        await pool.submitted.wait()
        idle = await connect(url)
        async with connect(url):
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(idle.recv(), 10)
        gate.set()
        assert (await events(busy))[-1]["type"] == "response.completed"


async def test_a_client_that_left_is_no_bug(
    pool: FakePool, caplog: pytest.LogCaptureFixture
) -> None:
    pool.script = [STARTED, *[text("x" * 100_000)] * 50, asyncio.Event()]
    async with served(make_dependencies(pool), Limits()) as url, connect(url) as ws:
        await ws.send(json.dumps(TURN))
        await asyncio.wait_for(ws.recv(), 10)
        ws.transport.abort()
        await asyncio.wait_for(pool.accepted[0].closed.wait(), 10)
    assert "unexpected" not in caplog.text


@pytest.mark.parametrize("frame", [b"\x00\x80\0\0\0\0", b"\x89\x80\0\0\0\0"], ids=["piece", "ping"])
async def test_small_frames_hold_up_nobody(
    pool: FakePool, monkeypatch: pytest.MonkeyPatch, frame: bytes
) -> None:
    """A second of parsing comes at once; others have their turn in between."""
    turns = 0
    parsed: list[tuple[int, int]] = []
    parse = WSProtocol.data_received

    def data_received(self: WSProtocol, data: bytes) -> None:
        parsed.append((turns, len(data)))
        parse(self, data)

    monkeypatch.setattr(WSProtocol, "data_received", data_received)
    sent = b"\x01\x80\0\0\0\0" + frame * 40_000
    async with served(make_dependencies(pool), Limits()) as url, connect(url) as ws:
        ws.transport.write(sent)
        while sum(length for _, length in parsed) < len(sent):
            await asyncio.sleep(0)
            turns += 1
        assert max(length for _, length in parsed) <= 4096
        assert len({turn for turn, _ in parsed}) > 10
        ws.transport.abort()


async def test_messages_wait_for_their_turn_unread(pool: FakePool) -> None:
    pool.script = [gate := asyncio.Event(), *pool.script]
    turn = json.dumps({**TURN, "input": "x" * 1000}).encode()
    async with (
        served(make_dependencies(pool), Limits(), max_message=10_000) as url,
        connect(url) as ws,
    ):
        for _ in range(50):
            await ws.send(turn.decode())
        await pool.submitted.wait()
        gate.set()
        ends = [(await events(ws))[-1]["type"] for _ in range(50)]
        assert ends == ["response.completed"] * 50
