"""What requests may hold together, before and after their bodies are read."""

import asyncio
import importlib
import json
import threading

import pytest

from mlxd.api.decode import MAX_TEXTS, MAX_VALUES
from mlxd.errors import QueueFull
from mlxd.http.app import public_app
from mlxd.http.intake import Intake
from tests.http.conftest import client_of
from tests.support.http_fakes import FakePool, make_dependencies

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
PATHS = ["/v1/chat/completions", "/v1/messages", "/api/chat"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_place_is_taken_before_the_body_is_read(pool: FakePool, path: str) -> None:
    client = client_of(public_app(make_dependencies(pool, max_queue=1)))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow_body():
        begun.set()
        await go_on.wait()
        yield json.dumps({**CHAT, "max_tokens": 1, "stream": False}).encode()

    first = asyncio.create_task(client.post(path, content=slow_body()))
    await begun.wait()
    await asyncio.sleep(0)
    second = await client.post(path, content=b"not read")
    assert second.status_code == 429
    assert "max_queue" in second.text
    go_on.set()
    assert (await first).status_code == 200
    assert (await client.post(path, json={**CHAT, "max_tokens": 1})).status_code == 200


def test_bodies_together_have_a_size() -> None:
    intake = Intake(places=9, size=10)
    with intake.holding() as take:
        take(50)  # alone
        with pytest.raises(QueueFull, match="max_queue_size"), intake.holding() as other:
            other(1)
    with intake.holding() as take, intake.holding() as other:
        take(5)
        other(5)
        with pytest.raises(QueueFull):
            other(1)
    assert (intake._taken, intake._bytes) == (0, 0)


def test_it_tells_when_large_bodies_are_gone() -> None:
    relieved: list[str] = []
    intake = Intake(9, 10**9, lambda: relieved.append("now"))
    with intake.holding() as take:
        take(900_000)
    assert relieved == []
    with intake.holding() as take:
        take(5_000_000)
        with intake.holding() as other:
            other(2_000_000)
        assert relieved == []
    assert relieved == ["now"]


BIASES = {str(token): 1 for token in range(10_001)}
NUMBERS = [0] * (MAX_VALUES + 2)
OBJECTS = [{}] * (MAX_TEXTS + 1)


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        ("/v1/chat/completions", {"logit_bias": BIASES}, "more than 10000 tokens"),
        ("/v1/chat/completions", {"keep_alive": "1s" * 100_000}, "a number of seconds"),
        ("/api/chat", {"keep_alive": "1s" * 100_000}, "a number of seconds"),
        ("/v1/chat/completions", {"stop_token_ids": [*range(1001)]}, "a list of length <= 1000"),
        *((path, {"metadata": NUMBERS}, f"more than {MAX_VALUES} values") for path in PATHS),
        *((path, {"metadata": OBJECTS}, f"more than {MAX_TEXTS} strings, l") for path in PATHS),
    ],
)
async def test_fields_have_a_greatest_length(
    pool: FakePool, path: str, fields: dict[str, object], said: str
) -> None:
    client = client_of(public_app(make_dependencies(pool)))
    reply = await client.post(path, json={**CHAT, "max_tokens": 1, **fields})
    assert (reply.status_code, said in reply.text) == (400, True), reply.text[:200]


async def test_of_large_bodies_nothing_is_made_on_the_event_loop(pool, tmp_path, monkeypatch):
    """As each text of a conversation, and each part of a schema."""
    threads: list[threading.Thread] = []

    def watched(function):
        def call(*given, **named):
            threads.append(threading.current_thread())
            return function(*given, **named)

        return call

    for module, name in (
        ("mlxd.api.chat", "for_templates"),
        ("mlxd.api.responses", "chat_messages"),
        ("mlxd.api.anthropic", "conversation"),
    ):
        found = getattr(importlib.import_module(module), name)
        monkeypatch.setattr(f"{module}.{name}", watched(found))
    client = client_of(public_app(make_dependencies(pool, responses=tmp_path)))
    said = [{"role": "user", "content": "x" * 100_000}]
    for path, fields in {
        "/v1/chat/completions": {"messages": said},
        "/v1/messages": {"messages": said, "max_tokens": 1},
        "/v1/responses": {"input": said},
        "/v1/responses/input_tokens": {"input": said},
    }.items():
        reply = await client.post(path, json=fields)
        assert reply.status_code == 200, reply.text
    first = (await client.post("/v1/responses", json={"input": said})).json()["id"]
    goes_on = {"input": "Hi", "previous_response_id": first}
    assert (await client.post("/v1/responses", json=goes_on)).status_code == 200
    assert len(threads) > 5
    assert threading.main_thread() not in threads
