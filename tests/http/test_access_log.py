import asyncio
import logging

import pytest

from mlxd import __version__
from mlxd.http.app import public_app, unix_app
from tests.support.http_fakes import make_dependencies, text

CHAT = {"messages": [{"role": "user", "content": "my secret prompt"}]}


async def log_line(caplog, of: str) -> str:
    """Wait for the access log line of the request whose id is `of`."""
    async with asyncio.timeout(10):
        while True:
            for record in caplog.records:
                if record.name == "mlxd.http" and record.details["request"] == of:
                    return record.getMessage()
            await asyncio.sleep(0.005)


async def test_every_reply_identifies_itself(serve, pool):
    client = await serve(public_app(make_dependencies(pool)))
    for path in ("/health", "/nowhere", "/v1/models"):
        headers = (await client.get(path)).headers
        assert headers["x-request-id"].startswith("req-")
        assert headers["request-id"] == headers["x-request-id"]
        assert headers.get_list("server") == [f"mlxd/{__version__}"]
        assert headers["x-mlxd-version"] == __version__


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1", True), ("x" * 129, False), ("", False), (b"\xe9", False)]
)
async def test_a_sane_request_id_is_kept(serve, pool, given, kept):
    client = await serve(public_app(make_dependencies(pool)))
    reply = await client.get("/health", headers={"x-request-id": given})
    assert (reply.headers["x-request-id"] == given) is kept


@pytest.mark.parametrize("stream", [False, True])
async def test_the_log_line_of_an_answer(serve, pool, caplog, stream):
    caplog.set_level(logging.INFO, logger="mlxd.http")
    client = await serve(public_app(make_dependencies(pool)))
    await client.post(
        "/v1/chat/completions?q=hidden",
        json=CHAT | {"stream": stream},
        headers={"x-request-id": "r1"},
    )
    line = await log_line(caplog, "r1")
    assert line.startswith("POST /v1/chat/completions 200 ")
    assert line.endswith(
        "ms model=tiny prompt_tokens=5 cached_tokens=0 completion_tokens=2"
        " queue_ms=1.0 prefill_ms=250.0 decode_ms=500.0 tokens_per_second=4.0"
    )
    assert "secret" not in caplog.text
    assert "hidden" not in caplog.text


async def test_the_log_line_of_an_aborted_stream(serve, pool, caplog):
    caplog.set_level(logging.INFO, logger="mlxd.http")
    pool.script = [text("one"), asyncio.Event()]
    client = await serve(public_app(make_dependencies(pool)))
    request = CHAT | {"stream": True}
    headers = {"x-request-id": "r2"}
    async with client.stream(
        "POST", "/v1/chat/completions", json=request, headers=headers
    ) as reply:
        await anext(reply.aiter_lines())
    line = await log_line(caplog, "r2")
    assert " model=tiny queue_ms=" in line
    assert line.endswith(" aborted=yes")


async def test_a_path_cannot_forge_a_log_line(serve, pool, caplog):
    caplog.set_level(logging.INFO, logger="mlxd.http")
    client = await serve(public_app(make_dependencies(pool)))
    await client.get("/a%0Ab", headers={"x-request-id": "r3"})
    line = await log_line(caplog, "r3")
    assert line.startswith("GET /a%0Ab 404 ")
    assert line.endswith("error=not_found")


async def test_what_is_asked_again_and_again_is_logged_at_debug(serve_unix, pool, caplog):
    caplog.set_level(logging.DEBUG, logger="mlxd.http")
    client = await serve_unix(unix_app(make_dependencies(pool)))
    levels = {
        "/control/v1/status": logging.DEBUG,
        "/control/v1/activity": logging.DEBUG,
        "/control/v1/pulls": logging.DEBUG,
        "/control/v1/models": logging.INFO,
    }
    for path in levels:
        await client.get(path, headers={"x-request-id": path})
        await log_line(caplog, path)
    found = {
        each.details["request"]: each.levelno for each in caplog.records if each.name == "mlxd.http"
    }
    assert found == levels
