"""Which requests count, and how; docs/metrics.md says what for."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from mlxd.config import LimitsConfig
from mlxd.errors import EngineDied, QueueFull
from mlxd.http.app import public_app, unix_app
from mlxd.http.caller_limits import Limiter
from mlxd.http.generate import Dependencies
from mlxd.http.server import HttpServer
from mlxd.metrics.metrics import Metrics
from tests.http.conftest import client_of
from tests.support.counts import counted
from tests.support.http_fakes import FINISHED, STARTED, FakePool, make_dependencies, text
from tests.support.key_file import KeyFile, bearer
from tests.support.responses_socket import serving

CHAT = "/v1/chat/completions"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
RESPOND = {"model": "tiny", "input": "hi"}

Outcome = tuple[str, str, str]


@pytest.fixture
def dependencies(pool: FakePool, tmp_path: Path) -> Dependencies:
    return make_dependencies(pool, responses=tmp_path, max_body=10_000)


@pytest.fixture
async def client(dependencies: Dependencies) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a real server, since only that notices that a client leaves."""
    async with (
        serving(HttpServer(public_app(dependencies))) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        yield client


async def ended(metrics: Metrics, *outcomes: Outcome) -> None:
    """Wait until requests have ended, and see that they count so."""
    async with asyncio.timeout(10):
        while metrics.requests.total < len(outcomes):
            await asyncio.sleep(0.005)
    found = counted(metrics, "mlxd_requests")
    assert found == {outcome: outcomes.count(outcome) for outcome in outcomes}
    assert (metrics.requests.running, metrics.requests.waiting) == (0, 0)


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1//chat/completions/", "chat"),
        ("/api/v0/chat/completions", "chat"),
        ("/v1/messages", "messages"),
        ("/api/chat", "ollama"),
    ],
)
async def test_answers(client, pool, path, dialect):
    body = ASK | {"max_tokens": 5, "stream": False}
    assert (await client.post(path, json=body)).status_code == 200
    await ended(pool.metrics, (dialect, "200", "done"))


async def test_refusals(client, pool):
    pool.refusal = QueueFull("512 requests are waiting")
    bodies = (ASK, ASK | {"temperature": "hot"}, ASK | {"user": "x" * 10_000})
    replies = [(await client.post(CHAT, json=body)).status_code for body in bodies]
    assert replies == [429, 400, 413]
    await ended(pool.metrics, *(("chat", str(status), "failed") for status in replies))


async def test_keys_and_their_limits(pool, tmp_path):
    key_file = KeyFile(tmp_path)
    limiter = Limiter(LimitsConfig(key_requests_per_minute=1))
    dependencies = make_dependencies(pool, ring=key_file.ring, limiter=limiter)
    client, key = client_of(public_app(dependencies)), bearer(key_file.add("laptop"))
    headers = (bearer("none"), key, key)
    replies = [(await client.post(CHAT, json=ASK, headers=each)).status_code for each in headers]
    assert replies == [401, 200, 429]
    outcomes = zip(replies, ("failed", "done", "failed"), strict=True)
    await ended(pool.metrics, *(("chat", str(status), outcome) for status, outcome in outcomes))
    callers = [each.caller for each in pool.metrics.activity(hour=False).requests]
    assert callers == ["laptop", "laptop", "anyone"]


@pytest.mark.parametrize("path", [CHAT, "/v1/responses"])
async def test_a_stream_that_fails(client, pool, path):
    pool.script = [STARTED, text("Hel"), EngineDied("gone")]
    body = (ASK if path == CHAT else RESPOND) | {"stream": True}
    assert (await client.post(path, json=body)).status_code == 200
    dialect = "chat" if path == CHAT else "responses"
    await ended(pool.metrics, (dialect, "200", "failed"))
    (request,) = pool.metrics.activity(hour=False).requests
    assert (request.error, request.completion_tokens) == ("engine_died", 1)


@pytest.mark.parametrize(("stream", "status"), [(True, "200"), (False, "499")])
async def test_a_client_that_leaves(client, pool, stream, status):
    pool.script = [STARTED, text("Hel"), asyncio.Event()]
    async with asyncio.timeout(10):
        asking = asyncio.create_task(client.post(CHAT, json=ASK | {"stream": stream}))
        while not pool.accepted or not pool.accepted[0].meter.completion_tokens:
            await asyncio.sleep(0.005)
        (running,) = pool.metrics.activity(hour=False).requests
        assert (running.state, running.stream, running.model) == ("writing", stream, "tiny")
        asking.cancel()
    await ended(pool.metrics, ("chat", status, "aborted"))


async def test_responses_in_the_background(client, pool):
    body = RESPOND | {"background": True}
    scripts = ([STARTED, text("Hi"), FINISHED], [STARTED, EngineDied("gone")], [asyncio.Event()])
    for script in scripts:
        pool.script = script
        response = (await client.post("/v1/responses", json=body)).json()
    await client.post(f"/v1/responses/{response['id']}/cancel")
    outcomes = ("done", "failed", "aborted")
    await ended(pool.metrics, *(("responses", "200", outcome) for outcome in outcomes))


async def test_turns_over_a_websocket(client, pool):
    url = f"{client.base_url.copy_with(scheme='ws')}/v1/responses"
    async with connect(url) as socket:
        for body in (RESPOND, RESPOND | {"temperature": "hot"}):
            await socket.send(json.dumps({"type": "response.create"} | body))
            while "response.completed" not in (event := await socket.recv()):
                if "error" in json.loads(event):
                    break
        pool.script = [STARTED, text("Hel"), asyncio.Event()]
        await socket.send(json.dumps({"type": "response.create"} | RESPOND))
        while "output_text.delta" not in await socket.recv():
            pass
    outcomes = (("200", "done"), ("400", "failed"), ("200", "aborted"))
    await ended(pool.metrics, *(("responses", *outcome) for outcome in outcomes))


async def test_what_asks_no_model_counts_apart(pool):
    client = client_of(unix_app(make_dependencies(pool)))
    for path in ("/v1/models", "/metrics", "/nowhere", "/control/v1/activity"):
        await client.get(path)
    assert counted(pool.metrics, "mlxd_other_requests") == {("200",): 3, ("404",): 1}
    assert pool.metrics.requests.total == 0


async def test_prometheus_may_choose_a_format(pool):
    client = client_of(unix_app(make_dependencies(pool)))
    plain = await client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    wanted = {"accept": "application/openmetrics-text; version=1.0.0"}
    opened = await client.get("/metrics", headers=wanted)
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    assert opened.text.endswith("# EOF\n")


async def test_a_key_for_some_models_sees_no_others(pool: FakePool, tmp_path: Path) -> None:
    key_file = KeyFile(tmp_path)
    dependencies = make_dependencies(pool, ring=key_file.ring)
    for model in ("tiny", "owner/name"):
        dependencies.metrics.generated(model, 3)
        dependencies.metrics.loaded(model, 1.0)
    client = client_of(public_app(dependencies))
    for models, seen in ((["owner/*"], False), ([], True)):
        key = key_file.add(str(seen), ["metrics"], models)
        text = (await client.get("/metrics", headers=bearer(key))).text
        assert 'mlxd_generation_tokens_total{model="owner/name"} 3' in text
        assert ('"tiny"' in text) == seen
