"""How much a key, and all clients together, may ask for."""

import asyncio
from datetime import datetime

import pytest

from mlxd.config import LimitsConfig
from mlxd.errors import RateLimited
from mlxd.http.app import public_app
from mlxd.http.caller_limits import Limiter
from mlxd.http.callers import Caller
from mlxd.keys import KeyLimits
from mlxd.messages import Finished, Usage
from tests.http.conftest import client_of
from tests.support.http_fakes import FINISHED, STARTED, make_dependencies
from tests.support.key_file import bearer


def serving(pool, key_file, clock, **limits):
    limiter = Limiter(LimitsConfig(**limits), clock)
    return client_of(public_app(make_dependencies(pool, ring=key_file.ring, limiter=limiter)))


ASK = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


async def ask(client, text, path="/v1/chat/completions", **fields):
    return await client.post(path, json=ASK | {"max_tokens": 9} | fields, headers=bearer(text))


async def test_requests_per_minute_come_back_one_by_one(pool, key_file, clock):
    client = serving(pool, key_file, clock, key_requests_per_minute=2)
    text, other = key_file.add(), key_file.add("other")
    first = await ask(client, text)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-reset-requests"] == "30s"
    assert (await ask(client, text)).status_code == 200
    clock.now += 10
    refused = await ask(client, text)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "20"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.json()["error"] == {
        "message": "key 'key' may send 2 requests a minute (limits.key_requests_per_minute); "
        "try again in 20 s",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert (await ask(client, other)).status_code == 200
    assert (await client.get("/v1/models", headers=bearer(text))).status_code == 200
    clock.now += 20
    assert (await ask(client, text)).status_code == 200


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/messages", "/api/chat", "/api/generate"])
async def test_every_dialect_says_it_in_its_own_form(pool, key_file, clock, path):
    client = serving(pool, key_file, clock, requests_per_minute=1)
    text = key_file.add()
    for status in (200, 429):
        reply = await ask(client, text, path, prompt="hi")
        assert reply.status_code == status, reply.text
    assert "all clients may send 1 requests a minute" in reply.text
    assert reply.headers["retry-after"] == "60"
    assert ("type" in reply.json()) == (path == "/v1/messages")
    assert isinstance(reply.json()["error"], str) == path.startswith("/api/")


async def test_tokens_per_minute_count_prompt_and_answer(pool, key_file, clock):
    """The answer of the fake pool takes 5 tokens and 2."""
    client = serving(pool, key_file, clock)
    text = key_file.add(tokens_per_minute=6)
    assert (await ask(client, text)).status_code == 200
    refused = await ask(client, text)
    assert refused.status_code == 429
    assert "may use 6 tokens a minute" in refused.text
    assert refused.headers["retry-after"] == "20"
    assert refused.headers["x-ratelimit-limit-tokens"] == "6"
    assert refused.headers["x-ratelimit-remaining-tokens"] == "0"
    clock.now += 20
    assert (await ask(client, text)).status_code == 200


async def test_tokens_are_charged_while_an_answer_comes(pool, key_file, clock):
    limiter = Limiter(LimitsConfig(tokens_per_minute=5), clock)
    caller = Caller("anyone", frozenset({"ask"}))
    client = client_of(public_app(make_dependencies(pool, ring=key_file.ring, limiter=limiter)))
    text = key_file.add()
    go_on = asyncio.Event()
    pool.script = [STARTED, go_on, FINISHED]
    long = asyncio.create_task(ask(client, text))
    async with asyncio.timeout(20):
        await pool.submitted.wait()
        while limiter.headers(caller)[1] != (b"x-ratelimit-remaining-tokens", b"0"):
            await asyncio.sleep(0.01)
    assert (await ask(client, text)).status_code == 429
    assert not long.done()
    go_on.set()
    assert (await long).status_code == 200


async def test_anthropics_routes_have_its_headers_too(pool, key_file, clock):
    client = serving(pool, key_file, clock, key_requests_per_minute=2)
    text = key_file.add()
    reply = await ask(client, text, "/v1/messages")
    assert reply.headers["x-ratelimit-remaining-requests"] == "1"
    assert reply.headers["anthropic-ratelimit-requests-limit"] == "2"
    assert reply.headers["anthropic-ratelimit-requests-remaining"] == "1"
    reset = datetime.fromisoformat(reply.headers["anthropic-ratelimit-requests-reset"])
    assert reset.tzinfo is not None
    other = await ask(client, text)
    assert not any(name.startswith("anthropic") for name in other.headers)


async def test_the_limit_that_leaves_less_is_told(pool, key_file, clock):
    client = serving(pool, key_file, clock, requests_per_minute=2, key_requests_per_minute=4)
    first, second = [await ask(client, key_file.add(name)) for name in ("one", "two")]
    for reply, left in ((first, "1"), (second, "0")):
        assert reply.headers["x-ratelimit-limit-requests"] == "2"
        assert reply.headers["x-ratelimit-remaining-requests"] == left


async def test_to_count_tokens_costs_none(pool, key_file, clock):
    client = serving(pool, key_file, clock)
    text = key_file.add(tokens_per_minute=6)
    pool.script = [STARTED, [(0, Finished(1, "length", Usage(5, 0, 0)))]]
    counts = [("/v1/messages/count_tokens", {}), ("/v1/responses/input_tokens", {"input": "hi"})]
    for path, fields in counts:
        assert (await ask(client, text, path, **fields)).json()["input_tokens"] == 5
    reply = await ask(client, text)
    assert reply.headers["x-ratelimit-remaining-tokens"] == "6"


async def test_an_answer_that_is_cut_off_counts_too(pool, key_file, clock):
    client = serving(pool, key_file, clock)
    text = key_file.add(tokens_per_minute=5)
    pool.script = [STARTED, RuntimeError("a bug")]
    assert (await ask(client, text)).status_code == 500
    assert (await ask(client, text)).status_code == 429


async def test_requests_beyond_those_that_run_wait_and_beyond_those_are_refused(
    pool, key_file, clock
):
    client = serving(pool, key_file, clock, key_running=1, key_queued=1)
    text, other = key_file.add(), key_file.add("other")
    go_on = asyncio.Event()
    pool.script = [STARTED, go_on, FINISHED]
    first = asyncio.create_task(ask(client, text))
    await pool.submitted.wait()
    pool.submitted.clear()
    second = asyncio.create_task(ask(client, text))
    await asyncio.sleep(0.05)
    assert len(pool.requests) == 1  # the second waits for its turn
    refused = await ask(client, text)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert "1 may run and 1 may wait (limits.key_queued)" in refused.text
    third = asyncio.create_task(ask(client, other))
    await pool.submitted.wait()
    go_on.set()
    assert [(await each).status_code for each in (first, second, third)] == [200, 200, 200]
    assert (await ask(client, text)).status_code == 200


async def test_a_request_that_gives_up_waiting_leaves_no_trace() -> None:
    limiter = Limiter(LimitsConfig(running=1, queued=0))
    caller = Caller("key", frozenset({"ask"}))
    with limiter.place(caller) as place:
        async with place.turn():
            with pytest.raises(RateLimited), limiter.place(caller):
                pass
    with limiter.place(caller) as place:
        waiting = asyncio.create_task(place.turn().__aenter__())
        await waiting
        stuck = asyncio.create_task(place.turn().__aenter__())
        await asyncio.sleep(0)
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
    with limiter.place(caller):
        pass


def test_a_key_s_own_limits_go_before_those_of_all_keys(clock) -> None:
    limiter = Limiter(LimitsConfig(key_requests_per_minute=1), clock)
    free = Caller("a", frozenset(), salt="a", limited=True, limits=KeyLimits(requests_per_minute=0))
    usual = Caller("b", frozenset(), salt="b", limited=True)
    for caller in (free, free, usual):
        with limiter.place(caller):
            pass
    with pytest.raises(RateLimited), limiter.place(usual):
        pass
