import asyncio
import json
from contextlib import AsyncExitStack

import pytest
from starlette.types import Message

from mlxd.api.dialect import SSE
from mlxd.errors import EngineDied, LoadFailed
from mlxd.http.app import public_app
from mlxd.http.connection import EventWriter, Pace
from tests.support.http_fakes import FINISHED, STARTED, make_dependencies, text

CHAT = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
NEVER_BEATS = Pace(hold=3600, beat=3600)
QUICK = Pace(hold=0.01, beat=0.02)


def ask(client):
    return client.stream("POST", "/v1/chat/completions", json=CHAT)


async def test_a_stream(serve, pool):
    client = await serve(public_app(make_dependencies(pool)))
    async with ask(client) as reply:
        lines = [line async for line in reply.aiter_lines() if line]
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-accel-buffering"] == "no"
    assert [line.partition('"delta":')[2].partition("}")[0] for line in lines[:-1]] == [
        '{"role":"assistant","content":""',
        '{"content":"Hel"',
        '{"content":"lo"',
        "{",
    ]
    assert lines[-1] == "data: [DONE]"
    await asyncio.wait_for(pool.accepted[0].closed.wait(), 10)


async def test_each_piece_arrives_when_it_is_made(serve, pool):
    second = asyncio.Event()
    pool.script = [STARTED, text("one"), second, text("two"), FINISHED]
    client = await serve(public_app(make_dependencies(pool), NEVER_BEATS))
    async with asyncio.timeout(10), ask(client) as reply:
        lines = reply.aiter_lines()
        while "one" not in await anext(lines):
            pass
        second.set()
        assert any(["two" in line async for line in lines])


async def test_an_early_failure_gets_its_own_status(serve, pool):
    go = asyncio.Event()
    pool.script = [STARTED, go, LoadFailed("tiny: no weights")]
    client = await serve(public_app(make_dependencies(pool), NEVER_BEATS))
    asking = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
    await asyncio.wait_for(pool.submitted.wait(), 10)
    go.set()
    reply = await asking
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "10")
    assert reply.headers["content-type"] == "application/json"


async def test_a_late_failure_is_the_last_event(serve, pool):
    pool.script = [STARTED, text("Hel"), EngineDied("the engine died")]
    client = await serve(public_app(make_dependencies(pool)))
    reply = await client.post("/v1/chat/completions", json=CHAT)
    assert reply.status_code == 200
    *_, last, end = reply.text.split("\n\n")
    assert (last, end) == (
        'data: {"error":{"message":"the engine died","type":"api_error",'
        '"param":null,"code":"engine_died"}}',
        "",
    )
    assert "[DONE]" not in reply.text


async def test_a_stream_that_waits_tells_how_far_it_is(serve, pool):
    go = asyncio.Event()
    pool.script = [STARTED, go, text("done"), FINISHED]
    client = await serve(public_app(make_dependencies(pool), QUICK))
    async with asyncio.timeout(10), ask(client) as reply:
        lines = reply.aiter_lines()
        for progress in ("queued 3", "loading 41%", "prefill 2048/9000"):
            pool.accepted[0].progress = progress
            while await anext(lines) != f": {progress}":
                pass
        go.set()
        assert [line async for line in lines][-2] == "data: [DONE]"


async def test_a_stream_that_waits_for_a_switch_of_the_default_model_keeps_talking(serve, pool):
    dependencies = make_dependencies(pool)
    client = await serve(public_app(dependencies, QUICK))
    async with asyncio.timeout(10), AsyncExitStack() as switch:
        await switch.enter_async_context(dependencies.selection.default_lock)
        async with ask(client) as reply:
            lines = reply.aiter_lines()
            assert await anext(lines) == ": queued"
            assert pool.requests == []
            await switch.aclose()
            assert [line async for line in lines][-2] == "data: [DONE]"


async def test_a_stream_that_stalls_after_its_first_text_keeps_talking(serve, pool):
    pool.script = [text("one"), asyncio.Event()]
    client = await serve(public_app(make_dependencies(pool), QUICK))
    async with asyncio.timeout(10), ask(client) as reply:
        seen = []
        async for line in reply.aiter_lines():
            seen.append(line)
            if line.startswith(":"):
                break
    assert any("one" in line for line in seen)


async def test_a_failure_after_a_comment_is_an_event(serve, pool):
    go = asyncio.Event()
    pool.script = [go, LoadFailed("no weights")]
    client = await serve(public_app(make_dependencies(pool), QUICK))
    async with asyncio.timeout(10), ask(client) as reply:
        lines = reply.aiter_lines()
        assert await anext(lines) == ": queued 3"
        go.set()
        data = [line async for line in lines if line.startswith("data:")]
    assert (reply.status_code, len(data)) == (200, 1)
    assert '"code":"load_failed"' in data[0]


@pytest.mark.parametrize("script", [[], [text("one")]])
async def test_a_client_that_leaves_aborts_its_answer(serve, pool, script):
    pool.script = [*script, asyncio.Event()]
    client = await serve(public_app(make_dependencies(pool), QUICK))
    async with asyncio.timeout(10):
        async with ask(client) as reply:
            await anext(reply.aiter_lines())
        await pool.accepted[0].closed.wait()


def test_the_usual_pace_keeps_the_design_s_promise():
    assert Pace().hold <= 10
    assert Pace().beat <= 10


async def test_characters_that_some_clients_take_for_ends_of_lines_are_escaped() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    said = "a\x85b\u2028c\u2029dé"
    writer = EventWriter(send, SSE, lambda: "queued", Pace())
    await writer.write(b"data: " + json.dumps(said, ensure_ascii=False).encode() + b"\n\n")
    line, end = sent[-1]["body"].decode().splitlines()
    assert (json.loads(line.removeprefix("data: ")), end) == (said, "")
