"""The routes of the control API, over the Unix socket."""

import asyncio
import json

from mlxd import control_api, page_api
from mlxd.control_api import Endpoint, Progress
from mlxd.errors import LoadFailed
from mlxd.http.app import unix_app
from mlxd.http.control import handlers
from mlxd.metrics.metrics import Metrics
from tests.support.http_fakes import FakeControl, make_dependencies


def test_each_endpoint_has_a_handler():
    named = [*vars(control_api).values(), *vars(page_api).values()]
    endpoints = {each for each in named if isinstance(each, Endpoint)}
    assert handlers(FakeControl(Metrics())).keys() == endpoints - {page_api.SHOW_CALLER}


async def test_replies_and_refusals_are_json(serve_unix, pool):
    client = await serve_unix(unix_app(make_dependencies(pool)))
    assert (await client.get("/control/v1/status")).json()["running"] is True
    assert (await client.get("/control/v1/models")).json() == {"models": [], "broken": []}
    used = await client.post("/control/v1/use", json={"model": "tiny"})
    assert used.json() == {"model": "tiny", "state": "ready", "overridden_by": None}
    refused = await client.post("/control/v1/use", json={"model": 5})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")


async def test_models_are_shown_and_removed_by_names_with_slashes(serve_unix, pool):
    dependencies = make_dependencies(pool)
    client = await serve_unix(unix_app(dependencies))
    for path in ("owner/a", "owner%2Fa"):
        assert (await client.get(f"/control/v1/models/{path}")).json()["id"] == "owner/a"
    await client.delete("/control/v1/models/owner/a?dry_run=true")
    assert (await client.delete("/control/v1/models/caf%C3%A9%20%3F")).json()["id"] == "café ?"
    assert dependencies.control.removed == [("owner/a", True), ("café ?", False)]
    assert (await client.post("/control/v1/models/owner/a")).status_code == 405


async def test_aliases_are_listed_made_and_removed(serve_unix, pool):
    client = await serve_unix(unix_app(make_dependencies(pool)))
    alias = {"name": "a/b", "model": "tiny", "exists": True}
    made = await client.post("/control/v1/aliases", json={"name": "a/b", "model": "tiny"})
    assert made.json() == alias
    await client.delete("/control/v1/aliases/small")
    assert (await client.get("/control/v1/aliases")).json() == {"aliases": [alias]}
    await client.delete("/control/v1/aliases/a/b")
    assert (await client.get("/control/v1/aliases")).json() == {"aliases": []}
    refused = await client.post("/control/v1/aliases", json={"name": "a"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")


async def test_the_prompt_cache_is_shown_and_cleared(serve_unix, pool):
    dependencies = make_dependencies(pool)
    client = await serve_unix(unix_app(dependencies))
    assert (await client.get("/control/v1/cache")).json()["folder"] == "/c/prompts"
    removed = await client.delete("/control/v1/cache")
    assert removed.json() == {"files": 2, "size_bytes": 7}
    await client.delete("/control/v1/cache/owner/a")
    assert dependencies.control.prompt_cache.cleared == [None, "owner/a"]


async def test_a_stream_shows_the_progress_and_then_the_reply(serve_unix, pool):
    dependencies = make_dependencies(pool)
    control = dependencies.control
    control.loaded.clear()
    client = await serve_unix(unix_app(dependencies))
    body = {"model": "tiny", "stream": True}
    async with asyncio.timeout(10), client.stream("POST", "/control/v1/use", json=body) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        events = (json.loads(line[6:]) async for line in reply.aiter_lines() if line)
        assert (await anext(events))["progress"]["fraction"] == 0.0
        control.progress = Progress(status="loading", model="tiny", fraction=0.5)
        assert (await anext(events))["progress"]["fraction"] == 0.5
        control.loaded.set()
        rest = [event async for event in events]
    assert rest == [{"done": {"model": "tiny", "state": "ready", "overridden_by": None}}]


async def test_a_stream_that_fails_ends_with_the_error(serve_unix, pool):
    dependencies = make_dependencies(pool)
    dependencies.control.failure = LoadFailed("tiny cannot be loaded: no weights")
    client = await serve_unix(unix_app(dependencies))
    body = {"model": "tiny", "stream": True}
    reply = await client.post("/control/v1/use", json=body)
    assert reply.status_code == 200
    *_, last = (json.loads(line[6:]) for line in reply.text.splitlines() if line)
    assert last["error"]["code"] == "load_failed"
    whole = await client.post("/control/v1/use", json=body | {"stream": False})
    assert (whole.status_code, whole.json()) == (503, last)
