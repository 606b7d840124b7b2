"""The Responses API over a WebSocket, as the compliance suite of Open Responses asks for it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mlxd import keys
from mlxd.errors import EngineDied, QueueFull
from mlxd.http.app import public_app
from mlxd.http.server import HttpServer
from tests.support.http_fakes import FINISHED, STARTED, FakePool, make_dependencies, text
from tests.support.key_file import KeyFile, bearer
from tests.support.responses_socket import complete, events, refused, serving, turn

KEY = "12345678"
RESULT = [{"type": "function_call_output", "call_id": "call_none", "output": "?"}]

Open = Callable[..., Awaitable[ClientConnection]]


@pytest.fixture
async def port(pool: FakePool, tmp_path: Path) -> AsyncIterator[int]:
    dependencies = make_dependencies(pool, responses=tmp_path, api_key=KEY, max_body=100_000)
    async with serving(HttpServer(public_app(dependencies), max_message=100_000)) as port:
        yield port


@pytest.fixture
async def open_socket(port: int) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def open_one(key: str = KEY, **headers: str) -> ClientConnection:
            headers |= {"authorization": f"Bearer {key}"}
            url = f"ws://127.0.0.1:{port}/v1/responses"
            return await stack.enter_async_context(connect(url, additional_headers=headers))

        yield open_one


async def test_turns_one_after_another(open_socket, pool):
    ws = await open_socket()
    for question in ("First", "Second"):
        made = await turn(ws, input=question, store=False)
        assert [event["sequence_number"] for event in made] == list(range(len(made)))
        assert made[-1]["response"]["output"][0]["content"][0]["text"] == "Hello"
    assert [request.prompt.messages[0]["content"] for request in pool.requests] == [
        "First",
        "Second",
    ]


async def test_turns_that_are_sent_at_once_are_served_in_order(open_socket):
    ws = await open_socket()
    for question in ("First", "Second"):
        create = {"type": "response.create", "input": question, "metadata": {"q": question}}
        await ws.send(json.dumps(create))
    shown = [(await events(ws))[-1]["response"]["metadata"]["q"] for _ in range(2)]
    assert shown == ["First", "Second"]


async def test_a_response_that_is_not_stored_can_be_continued_on_its_connection(open_socket, pool):
    ws = await open_socket()
    first = await complete(ws, store=False)
    await complete(ws, input="And?", store=False, previous_response_id=first["id"])
    assert len(pool.requests[1].prompt.messages) == 3
    other = await open_socket()
    assert await refused(other, store=False, previous_response_id=first["id"]) == (
        400,
        "previous_response_not_found",
    )
    await complete(other, store=False)


async def test_a_stored_response_can_be_continued_on_any_connection(open_socket, port):
    first = await complete(await open_socket())
    await complete(await open_socket(), previous_response_id=first["id"])
    url = f"http://127.0.0.1:{port}/v1/responses/{first['id']}"
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as client:
        assert (await client.get(url)).json() == first


async def test_a_turn_that_fails_cannot_be_repeated_from_the_same_response(open_socket):
    ws = await open_socket()
    first = await complete(ws, store=False)
    status, _ = await refused(ws, input=RESULT, store=False, previous_response_id=first["id"])
    assert status == 400
    code = "previous_response_not_found"
    assert await refused(ws, store=False, previous_response_id=first["id"]) == (400, code)


async def test_what_is_compacted_begins_a_new_chain(open_socket, port):
    body = {"model": "tiny", "input": "Remember slate."}
    headers = {"authorization": f"Bearer {KEY}"}
    url = f"http://127.0.0.1:{port}/v1/responses/compact"
    async with httpx.AsyncClient(headers=headers) as client:
        output = (await client.post(url, json=body)).json()["output"]
    ws = await open_socket()
    await complete(ws, input=[*output, {"role": "user", "content": "Go on."}], tools=[])


async def test_a_prompt_can_be_read_ahead(open_socket, pool):
    pool.script = [STARTED, text("x"), FINISHED]
    ws = await open_socket()
    first = await complete(ws, generate=False, store=False)
    assert (first["output"], pool.requests[0].max_tokens) == ([], 0)
    await complete(ws, input="And?", store=False, previous_response_id=first["id"])


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("{", None),
        ('{"type": "response.steer", "input": "Hi"}', "type"),
        ('{"type": "response.create", "input": "Hi", "background": true}', "background"),
        ('{"type": "response.create", "input": 5}', "input"),
        ('{"type": "response.create"}', "input"),
    ],
)
async def test_an_invalid_message_is_refused_and_the_connection_stays_open(
    open_socket, message, param
):
    ws = await open_socket()
    await ws.send(message)
    (error,) = await events(ws)
    assert (error["status"], error["error"]["param"]) == (400, param)
    await complete(ws)


async def test_errors_of_a_turn(open_socket, pool):
    ws = await open_socket()
    pool.refusal = QueueFull("512 requests are waiting")
    assert await refused(ws) == (429, "queue_full")
    pool.refusal, pool.script = None, [STARTED, text("Hel"), EngineDied("gone")]
    last = (await turn(ws))[-1]
    assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "engine_died")


async def test_a_client_that_disconnects_ends_the_turn(open_socket, pool):
    pool.script = [STARTED, text("Hel"), asyncio.Event()]
    ws = await open_socket()
    await ws.send(json.dumps({"type": "response.create", "input": "Hi"}))
    await asyncio.wait_for(ws.recv(), 10)
    await ws.close()
    await asyncio.wait_for(pool.accepted[0].closed.wait(), 10)


async def test_a_message_that_is_too_large_ends_the_connection(open_socket):
    ws = await open_socket()
    with pytest.raises(ConnectionClosed) as caught:
        await turn(ws, input="x" * 200_000)
    assert caught.value.rcvd.code == 1009


@pytest.mark.parametrize(
    ("options", "status"),
    [({"key": "wrong key"}, 401), ({"origin": "https://example.org"}, 403)],
)
async def test_who_may_connect(open_socket, options, status):
    with pytest.raises(InvalidStatus) as caught:
        await open_socket(**options)
    assert caught.value.response.status_code == status
    assert json.loads(caught.value.response.body)["error"]["message"]


async def test_no_other_path_has_a_socket(port):
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"ws://127.0.0.1:{port}/health")
    assert caught.value.response.status_code == 200  # the upgrade is ignored


async def test_a_key_s_limits_and_its_end_count_for_each_turn(pool, tmp_path):
    key_file = KeyFile(tmp_path)
    text = key_file.add(requests_per_minute=1)
    app = public_app(make_dependencies(pool, ring=key_file.ring, responses=tmp_path / "responses"))
    async with serving(HttpServer(app)) as port:
        url, headers = f"ws://127.0.0.1:{port}/v1/responses", bearer(text)
        async with connect(url, additional_headers=headers) as ws:
            await complete(ws)
            assert await refused(ws) == (429, "rate_limit_exceeded")
            keys.revoke(key_file.file, "key")
            assert await refused(ws) == (401, "invalid_api_key")


async def test_a_connection_from_before_the_first_key_needs_one_from_then_on(pool, tmp_path):
    key_file = KeyFile(tmp_path)
    app = public_app(make_dependencies(pool, ring=key_file.ring, responses=tmp_path / "responses"))
    async with (
        serving(HttpServer(app)) as port,
        connect(f"ws://127.0.0.1:{port}/v1/responses") as ws,
    ):
        await complete(ws)
        key_file.add()
        assert await refused(ws) == (401, "invalid_api_key")


async def test_what_connections_may_go_on_from_has_a_size_together(open_socket, monkeypatch):
    monkeypatch.setattr("mlxd.http.responses_socket._MOST_KEPT", 50_000)
    sockets = [await open_socket() for _ in range(3)]
    firsts = [await complete(ws, input="x" * 20_000, store=False) for ws in sockets]
    code = "previous_response_not_found"
    oldest = sockets[0], firsts[0]["id"]
    assert await refused(oldest[0], store=False, previous_response_id=oldest[1]) == (400, code)
    await complete(sockets[2], store=False, previous_response_id=firsts[2]["id"])
