import asyncio
import gc
import weakref

import pytest

from mlxd.errors import InvalidRequest, ModelNotFound
from mlxd.http.app import public_app
from mlxd.http.error_replies import ErrorReplies
from mlxd.http.record import Record
from tests.support.http_fakes import make_dependencies, text

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}


async def test_a_name_that_is_not_unicode(serve, pool):
    client = await serve(public_app(make_dependencies(pool)))
    pool.refusal = ModelNotFound("there is no model 'caf\udce9'")
    reply = await client.post("/v1/chat/completions", json=CHAT)
    assert reply.status_code == 404
    assert reply.json()["error"]["message"] == "there is no model 'caf\\udce9'"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_bug_is_reported_without_its_text(serve, pool, caplog, stream):
    pool.script = [ValueError("about my secret prompt")]
    client = await serve(public_app(make_dependencies(pool)))
    headers = {"x-request-id": "r1"}
    body = CHAT | {"stream": stream}
    reply = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert reply.status_code == 500
    assert reply.json()["error"]["message"] == "internal error (request r1)"
    assert "unexpected ValueError" in caplog.text
    assert "in _" in caplog.text
    assert "secret" not in caplog.text


async def test_a_bug_after_the_first_byte_is_the_last_event(serve, pool):
    pool.script = [text("one"), ValueError("about my secret prompt")]
    client = await serve(public_app(make_dependencies(pool)))
    reply = await client.post("/v1/chat/completions", json=CHAT | {"stream": True})
    assert reply.status_code == 200
    assert '"message":"internal error (request req-' in reply.text.split("\n\n")[-2]
    assert "secret" not in reply.text


class Body:
    """Stands for what a client sent; unlike bytes, it can be watched."""


@pytest.mark.parametrize("error", [InvalidRequest, ValueError])
@pytest.mark.parametrize("in_task", [False, True])
async def test_a_refused_body_is_forgotten_at_once(error, in_task):
    bodies = []

    async def refuse(body):
        raise error("no")

    async def app(scope, receive, send):
        body = Body()
        bodies.append(weakref.ref(body))
        refusing = asyncio.create_task(refuse(body)) if in_task else refuse(body)
        await refusing

    async def send(message):
        pass

    record = Record("r1")
    gc.disable()  # which would free it, sooner or later
    try:
        await ErrorReplies(app)({"type": "http", "path": "/", "mlxd.record": record}, send, send)
        assert record.error is not None
        assert bodies[0]() is None
    finally:
        gc.enable()
