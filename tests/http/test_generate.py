import asyncio
import json
import logging

import httpx
import openai
import pytest
from msgspec import structs

from mlxd.config import ModelSettings
from mlxd.errors import ContextLengthExceeded, EngineDied, InvalidRequest, QueueFull
from mlxd.generate_request import ChatPrompt, Draft, TextPrompt
from mlxd.http.app import public_app, unix_app
from mlxd.messages import Overlooked
from tests.support.http_fakes import HELLO, STARTED, make_dependencies
from tests.support.pool import until

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
async def test_a_chat(serve, pool, path):
    client = await serve(public_app(make_dependencies(pool)))
    reply = (await client.post(path, json=CHAT)).json()
    assert reply["choices"][0]["message"]["content"] == "Hello"
    assert reply["model"] == "tiny"
    assert reply["usage"]["total_tokens"] == 7
    (request,) = pool.requests
    assert request.prompt == ChatPrompt([{"role": "user", "content": "Hi"}])
    assert request.max_tokens == 77
    await asyncio.wait_for(pool.accepted[0].closed.wait(), 10)


async def test_lines_that_change_with_every_request_reach_no_model(serve, pool):
    client = await serve(public_app(make_dependencies(pool, unstable_system_lines=["x-changes:"])))
    body = {**CHAT, "max_tokens": 5, "system": "x-changes: 17\nBe brief."}
    assert (await client.post("/v1/messages", json=body)).status_code == 200
    assert (await client.post("/v1/messages/count_tokens", json=body)).status_code == 200
    for request in pool.requests:
        assert request.prompt.messages[0] == {"role": "system", "content": "Be brief."}
    assert len(pool.requests) == 2


async def test_a_text_completion(serve, pool):
    client = await serve(public_app(make_dependencies(pool)))
    body = {"model": "owner/name", "prompt": "Hi", "max_tokens": 3}
    reply = (await client.post("/v1/completions", json=body)).json()
    assert (reply["choices"][0]["text"], reply["model"]) == ("Hello", "owner/name")
    assert (pool.requests[0].prompt, pool.requests[0].max_tokens) == (TextPrompt("Hi"), 3)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_of_a_schema_is_not_enforced_is_told_once_and_logged(
    serve, pool, caplog, stream
):
    caplog.set_level(logging.INFO, logger="mlxd.http")
    told = Overlooked("response_format.pattern", "pattern", "it has look-around")
    started = structs.replace(STARTED[0][1], overlooked=[told])
    pool.script = [[(0, started)], *HELLO[1:]]
    client = await serve(public_app(make_dependencies(pool)))
    reply = await client.post("/v1/chat/completions", json=CHAT | {"stream": stream})
    warnings = [
        {
            "param": "response_format.pattern",
            "message": "`response_format.pattern` is not enforced: it has look-around",
        }
    ]
    if stream:
        chunks = [json.loads(line[6:]) for line in reply.text.split("\n\n")[:-2]]
        assert [chunk.get("warnings") for chunk in chunks] == [warnings] + [None] * 3
    else:
        assert reply.json()["warnings"] == warnings
    await until(lambda: "not_enforced=pattern" in caplog.text)


async def test_a_body_in_chunks_of_no_announced_length(serve, pool):
    async def pieces():
        data = json.dumps(CHAT).encode()
        for byte in data:
            yield bytes([byte])

    client = await serve(public_app(make_dependencies(pool)))
    assert (await client.post("/v1/chat/completions", content=pieces())).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"messages": [], "model": "none such"}, 400, "messages"),
        (CHAT | {"model": "none such"}, 404, "model"),
        (CHAT | {"tools": [{}]}, 400, "tools[0].function"),
        (CHAT | {"adapters": "mine"}, 400, "adapters"),
        (CHAT | {"adapters": "/adapters/pirate"}, 400, "adapters"),
        (CHAT | {"draft_model": "none such"}, 404, "draft_model"),
        (CHAT | {"draft_model": "/models/owner/name"}, 404, "draft_model"),
        (CHAT | {"draft_model": "tiny"}, 400, "draft_model"),
    ],
)
async def test_a_bad_request_never_reaches_the_pool(serve, pool, body, status, param):
    client = await serve(public_app(make_dependencies(pool)))
    reply = await client.post("/v1/chat/completions", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param)
    assert pool.requests == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_pool_that_refuses(serve, pool, stream):
    pool.refusal = QueueFull("512 requests are waiting")
    client = await serve(public_app(make_dependencies(pool)))
    reply = await client.post("/v1/chat/completions", json=CHAT | {"stream": stream})
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")
    assert reply.json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize(
    ("error", "status"),
    [(ContextLengthExceeded("too long", param="messages"), 400), (EngineDied("gone"), 500)],
)
async def test_an_answer_that_fails(serve, pool, error, status):
    pool.script = [error]
    client = await serve(public_app(make_dependencies(pool)))
    reply = await client.post("/v1/chat/completions", json=CHAT)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, error.code)
    assert pool.accepted[0].closed.is_set()


async def test_a_client_that_leaves_aborts_its_answer(serve, pool):
    pool.script = [asyncio.Event()]
    client = await serve(public_app(make_dependencies(pool)))
    asking = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
    async with asyncio.timeout(10):
        await pool.submitted.wait()
        asking.cancel()
        await pool.accepted[0].closed.wait()


async def test_the_openai_client_chats_and_streams(serve, serve_unix, pool):
    context = make_dependencies(pool)
    for http in (await serve(public_app(context)), await serve_unix(unix_app(context))):
        base_url = httpx.URL(str(http.base_url)).join("/v1")
        client = openai.AsyncOpenAI(api_key="none", base_url=base_url, http_client=http)
        assert [model.id async for model in client.models.list()] == ["tiny", "owner/name"]
        messages = [{"role": "user", "content": "Hi"}]
        whole = await client.chat.completions.create(model="tiny", messages=messages)
        assert whole.choices[0].message.content == "Hello"
        chunks = await client.chat.completions.create(
            model="tiny", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        seen = [chunk async for chunk in chunks]
        assert "".join(c.choices[0].delta.content or "" for c in seen if c.choices) == "Hello"
        assert seen[-1].usage is not None
        assert seen[-1].usage.completion_tokens == 2
        with pytest.raises(openai.NotFoundError, match="near ones: tiny"):
            await client.completions.create(model="tinny", prompt="x")


async def test_a_draft_model_is_found_in_the_catalog(serve, pool):
    client = await serve(public_app(make_dependencies(pool)))
    for fields in ({"num_draft_tokens": 5}, {}, {"num_draft_tokens": 0}):
        body = CHAT | {"draft_model": "owner/name"} | fields
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    path = "/models/owner/name"
    assert [r.draft for r in pool.requests] == [Draft(path, 5), Draft(path, 3), None]


async def test_an_adapter_is_found_in_the_catalog(serve, pool):
    client = await serve(public_app(make_dependencies(pool)))
    reply = await client.post("/v1/chat/completions", json=CHAT | {"adapters": "pirate"})
    assert (reply.status_code, reply.json()["model"]) == (200, "tiny")
    await client.post("/v1/chat/completions", json=CHAT)
    assert [entry.name for entry in pool.entries] == ["tiny with adapter pirate", "tiny"]


async def test_the_configured_draft_model_is_to_blame_for_itself(serve, pool):
    """A client that named no draft model is not told that its request was bad."""
    settings = ModelSettings(draft_model="owner/name")
    client = await serve(public_app(make_dependencies(pool, settings)))
    pool.script = [InvalidRequest("owner/name has other tokens", param="draft_model")]
    reply = await client.post("/v1/chat/completions", json=CHAT)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "load_failed")
    assert reply.json()["error"]["message"] == "model.tiny.draft_model: owner/name has other tokens"
    reply = await client.post("/v1/chat/completions", json=CHAT | {"draft_model": "owner/name"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "draft_model")


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json; charset=utf-8", 200),
        ("application/vnd.api+json", 200),
        ("application/x-www-form-urlencoded", 200),
        ("", 200),
        ("text/plain", 200),
        ("text/plain;charset=UTF-8", 200),  # what fetch adds by itself
        ("application/json; charset=utf-7", 415),
        ("application/xml", 415),
        ("multipart/form-data; boundary=x", 415),
    ],
)
async def test_a_body_has_to_be_announced_as_json_or_not_at_all(serve, pool, content_type, status):
    client = await serve(public_app(make_dependencies(pool)))
    headers = {"content-type": content_type}
    content = json.dumps(CHAT)
    reply = await client.post("/v1/chat/completions", content=content, headers=headers)
    assert reply.status_code == status
    if status == 415:
        assert reply.json()["error"]["code"] == "unsupported_media_type"
