import asyncio
import json

import openai
import pytest

from mlxd.errors import ContextLengthExceeded, EngineDied, QueueFull
from mlxd.http.app import public_app
from mlxd.http.connection import Pace
from mlxd.messages import ToolCall
from tests.support.http_fakes import FINISHED, HELLO, STARTED, make_dependencies, text
from tests.support.open_responses import checked_response, checked_stream

PATH = "/v1/responses"
ASK = {"input": "Hi"}
KEY = "12345678"


@pytest.fixture
async def client(serve, pool, tmp_path):
    return await serve(public_app(make_dependencies(pool, responses=tmp_path / "r")))


async def create(client, **fields):
    reply = await client.post(PATH, json=ASK | fields)
    assert reply.status_code == 200, reply.text
    return checked_response(reply.json())


async def wait_for(client, response_id, *statuses):
    async with asyncio.timeout(10):
        while (shown := (await client.get(f"{PATH}/{response_id}")).json())[
            "status"
        ] not in statuses:
            await asyncio.sleep(0.01)
    return checked_response(shown)


async def test_a_response(client, pool):
    response = await create(client)
    assert response["output"][0]["content"][0]["text"] == "Hello"
    assert (response["model"], response["status"], response["store"]) == ("tiny", "completed", True)
    assert pool.requests[0].prompt.messages == [{"role": "user", "content": "Hi"}]


async def test_a_stream(client):
    async with client.stream("POST", PATH, json=ASK | {"stream": True}) as reply:
        events = checked_stream(await reply.aread())
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert "".join(e["delta"] for e in events if e["type"].endswith(".delta")) == "Hello"
    stored = await client.get(f"{PATH}/{events[-1]['response']['id']}")
    assert stored.json() == events[-1]["response"]


USER = {"type": "message", "role": "user", "content": "Say hello."}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a location",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}},
}


@pytest.mark.parametrize(
    "given",
    [
        [{"type": "message", "role": "system", "content": "You are a pirate."}, USER],
        [USER, {"type": "message", "role": "assistant", "content": "Hello."}, USER],
        [
            {"type": "message", "role": "assistant", "phase": "commentary", "content": "Four?"},
            {"type": "message", "role": "assistant", "phase": "final_answer", "content": "Four."},
            USER,
        ],
    ],
    ids=["system-prompt", "multi-turn", "assistant-phase"],
)
async def test_conversations_of_the_compliance_suite(client, given):
    response = await create(client, input=given)
    assert (response["status"], len(response["output"])) == ("completed", 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_as_the_compliance_suite_asks_for_it(client, pool, stream):
    pool.script = [STARTED, [(0, ToolCall(1, "get_weather", "{}"))], FINISHED]
    body = {"input": [USER], "tools": [WEATHER], "stream": stream}
    reply = await client.post(PATH, json=body)
    response = checked_stream(reply.content)[-1]["response"] if stream else reply.json()
    (item,) = checked_response(response)["output"]
    assert (item["type"], item["name"], item["status"]) == (
        "function_call",
        "get_weather",
        "completed",
    )


async def test_a_conversation_goes_on(client, pool):
    first = await create(client, instructions="Be brief.")
    second = await create(client, input="And?", previous_response_id=first["id"])
    assert pool.requests[1].prompt.messages == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "And?"},
    ]
    assert second["previous_response_id"] == first["id"]
    third = await create(client, input="Why?", previous_response_id=second["id"])
    assert len(pool.requests[2].prompt.messages) == 5
    # None of them needs the others.
    await client.delete(f"{PATH}/{first['id']}")
    await create(client, previous_response_id=third["id"])


async def test_an_item_of_a_stored_response_can_be_named(client, pool):
    first = await create(client)
    reference = {"type": "item_reference", "id": first["output"][0]["id"]}
    await create(client, input=[reference, {"role": "user", "content": "Why?"}])
    assert [m["content"] for m in pool.requests[1].prompt.messages] == ["Hello", "Why?"]
    reply = await client.post(PATH, json={"input": [{"id": "msg_1"}]})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "input")


async def test_a_response_that_is_not_there(client):
    reply = await client.post(PATH, json=ASK | {"previous_response_id": "resp_1"})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (400, "previous_response_not_found")
    for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]:
        reply = await client.request(method, f"{PATH}/resp_1{path}")
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "response_not_found")


async def test_a_response_that_is_not_to_be_stored(client, tmp_path):
    response = await create(client, store=False)
    assert response["store"] is False
    assert (await client.get(f"{PATH}/{response['id']}")).status_code == 404


async def test_storing_can_be_turned_off(serve, pool):
    client = await serve(public_app(make_dependencies(pool)))
    assert (await create(client))["store"] is False
    reply = await client.post(PATH, json=ASK | {"background": True})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "background")


async def test_a_response_belongs_to_a_key(serve, pool, tmp_path):
    dependencies = make_dependencies(pool, responses=tmp_path, api_key=KEY)
    client = await serve(public_app(dependencies))
    headers = {"authorization": f"Bearer {KEY}"}
    response = (await client.post(PATH, json=ASK, headers=headers)).json()
    assert (await client.get(f"{PATH}/{response['id']}")).status_code == 401
    found = await client.get(f"{PATH}/{response['id']}", headers=headers)
    assert found.json() == response


async def test_deleted(client):
    response = await create(client)
    reply = await client.delete(f"{PATH}/{response['id']}")
    assert reply.json() == {"id": response["id"], "object": "response", "deleted": True}
    assert (await client.get(f"{PATH}/{response['id']}")).status_code == 404


async def test_input_items_in_pages(client):
    items = [{"role": "user", "content": f"Question {n}", "id": f"q{n}"} for n in range(5)]
    response = await create(client, input=items)
    path = f"{PATH}/{response['id']}/input_items"
    page = (await client.get(path, params={"limit": 2, "order": "asc"})).json()
    assert [item["id"] for item in page["data"]] == ["q0", "q1"]
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("q0", "q1", True)
    page = (await client.get(path, params={"after": "q3", "order": "asc"})).json()
    assert [item["id"] for item in page["data"]] == ["q4"]
    assert page["has_more"] is False
    assert (await client.get(path)).json()["data"][0]["content"] == [
        {"type": "input_text", "text": "Question 4"}
    ]
    for params in ({"limit": 0}, {"limit": "x"}, {"order": "up"}, {"after": "q9"}):
        assert (await client.get(path, params=params)).status_code == 400


async def test_a_stored_response_as_a_stream(client):
    response = await create(client)
    reply = await client.get(f"{PATH}/{response['id']}", params={"stream": "true"})
    events = checked_stream(reply.content)
    assert events[-1]["response"] == response
    params = {"stream": "true", "starting_after": 3}
    reply = await client.get(f"{PATH}/{response['id']}", params=params)
    assert checked_stream(reply.content) == events[4:]


async def test_input_tokens(client, pool):
    reply = await client.post(f"{PATH}/input_tokens", json=ASK)
    assert reply.json() == {"input_tokens": 5, "object": "response.input_tokens"}
    await asyncio.wait_for(pool.accepted[0].closed.wait(), 10)


async def test_compaction(client, pool):
    given = [{"role": "user", "content": "My name is Ada."}]
    reply = await client.post(f"{PATH}/compact", json={"model": "tiny", "input": given})
    compacted = reply.json()
    assert compacted["object"] == "response.compaction"
    assert len(pool.requests[0].prompt.messages) == 2
    await create(client, input=[*compacted["output"], {"role": "user", "content": "Go on."}])
    first, second = pool.requests[1].prompt.messages
    assert (first["content"].endswith("Hello"), second["content"]) == (True, "Go on.")
    reply = await client.post(f"{PATH}/compact", json={"input": given})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "model")


async def test_in_the_background(client, pool):
    go_on = asyncio.Event()
    pool.script = [STARTED, go_on, text("Hello"), FINISHED]
    response = await create(client, background=True)
    assert (response["status"], response["background"]) == ("queued", True)
    await wait_for(client, response["id"], "in_progress")
    reply = await client.post(PATH, json=ASK | {"previous_response_id": response["id"]})
    assert reply.status_code == 400
    go_on.set()
    done = await wait_for(client, response["id"], "completed")
    assert done["output"][0]["content"][0]["text"] == "Hello"


async def test_a_stream_in_the_background_can_be_left_and_joined_again(client, pool):
    go_on = asyncio.Event()
    pool.script = [STARTED, text("Hel"), go_on, text("lo"), FINISHED]
    async with client.stream("POST", PATH, json=ASK | {"stream": True, "background": True}) as one:
        lines = one.aiter_lines()
        async for line in lines:
            if line.startswith("data:") and '"delta":"Hel"' in line:
                last = json.loads(line.removeprefix("data: "))
                break
    params = {"stream": "true", "starting_after": last["sequence_number"] - 1}
    response_id = f"resp_{last['item_id'].split('_')[1]}"
    data = b""
    async with client.stream("GET", f"{PATH}/{response_id}", params=params) as joined:
        async for piece in joined.aiter_bytes():
            data += piece
            go_on.set()  # not before this is a stream that goes on
    first, *events = checked_stream(data)
    assert (first, events[0]["delta"]) == (last, "lo")
    assert events[0]["sequence_number"] == last["sequence_number"] + 1
    again = await client.get(f"{PATH}/{response_id}", params={"stream": "true"})
    everything = checked_stream(again.content)
    assert everything[last["sequence_number"] + 1 :] == events
    assert [event["type"] for event in everything[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]


async def test_cancelled(client, pool):
    pool.script = [STARTED, text("Hel"), asyncio.Event()]
    response = await create(client, background=True)
    await wait_for(client, response["id"], "in_progress")
    cancelled = checked_response((await client.post(f"{PATH}/{response['id']}/cancel")).json())
    assert cancelled["status"] == "cancelled"
    assert pool.accepted[0].closed.is_set()
    assert (await client.get(f"{PATH}/{response['id']}")).json() == cancelled
    pool.script = HELLO
    other = await create(client)
    assert (await client.post(f"{PATH}/{other['id']}/cancel")).status_code == 400


async def test_a_background_response_that_is_refused(client, pool):
    pool.refusal = QueueFull("512 requests are waiting")
    reply = await client.post(PATH, json=ASK | {"background": True})
    assert reply.status_code == 429


async def test_a_background_response_that_fails(client, pool):
    pool.script = [STARTED, text("Hel"), EngineDied("gone")]
    response = await create(client, background=True)
    failed = await wait_for(client, response["id"], "failed")
    assert failed["error"] == {"code": "engine_died", "message": "gone"}


async def test_a_background_response_of_a_daemon_that_was_killed_has_failed(serve, pool, tmp_path):
    client = await serve(public_app(make_dependencies(pool, responses=tmp_path)))
    pool.script = [STARTED, asyncio.Event()]
    response = await create(client, background=True)
    other = await serve(public_app(make_dependencies(pool, responses=tmp_path)))
    assert (await other.get(f"{PATH}/{response['id']}")).json()["status"] == "failed"


async def test_an_error_before_the_first_event_has_its_status(client, pool):
    pool.script = [ContextLengthExceeded("too long", param="messages")]
    for stream in (False, True):
        reply = await client.post(PATH, json=ASK | {"stream": stream})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "input")


async def test_an_error_in_a_stream_is_told_in_it_and_stored(client, pool):
    pool.script = [STARTED, text("Hel"), EngineDied("gone")]
    reply = await client.post(PATH, json=ASK | {"stream": True})
    events = checked_stream(reply.content)
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    stored = await client.get(f"{PATH}/{events[-1]['response']['id']}")
    assert stored.json()["status"] == "failed"


async def test_a_stream_that_waits_has_signs_of_life(serve, pool, tmp_path):
    go_on = asyncio.Event()
    pool.script = [go_on, STARTED, FINISHED]
    client = await serve(public_app(make_dependencies(pool), Pace(hold=0.01, beat=0.01)))
    async with client.stream("POST", PATH, json=ASK | {"stream": True}) as reply:
        lines = reply.aiter_lines()
        assert await anext(lines) == ": queued 3"
        go_on.set()
        assert [line async for line in lines if line][-1] == "data: [DONE]"


async def test_a_client_that_disconnects_ends_the_answer(client, pool):
    pool.script = [STARTED, text("Hel"), asyncio.Event()]
    async with client.stream("POST", PATH, json=ASK | {"stream": True}) as reply:
        await anext(reply.aiter_lines())
    await asyncio.wait_for(pool.accepted[0].closed.wait(), 10)


async def test_openai_for_python(client, pool):
    url = f"{client.base_url}/v1"
    sdk = openai.AsyncOpenAI(api_key="none", base_url=url, http_client=client, max_retries=0)
    response = await sdk.responses.create(model="tiny", input="Hi")
    assert response.output_text == "Hello"
    async with sdk.responses.stream(model="tiny", input="Hi") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert (kinds[0], kinds[-1], final.output_text) == (
        "response.created",
        "response.completed",
        "Hello",
    )
    again = await sdk.responses.retrieve(response.id)
    assert again.output == response.output
    items = await sdk.responses.input_items.list(response.id)
    assert items.data[0].content[0].text == "Hi"
    assert (await sdk.responses.input_tokens.count(model="tiny", input="Hi")).input_tokens == 5
    await sdk.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.retrieve(response.id)
    later = await sdk.responses.create(model="tiny", input="Hi", background=True)
    await wait_for(client, later.id, "completed")
    stream = await sdk.responses.retrieve(later.id, stream=True)
    assert [event.type async for event in stream][-1] == "response.completed"


@pytest.mark.parametrize("path", ["/input_items?limit=", "?stream=true&starting_after="])
async def test_numbers_have_few_digits(client, path):
    response = await create(client)
    reply = await client.get(f"{PATH}/{response['id']}{path}{'1' * 5000}")
    assert reply.status_code == 400, reply.text


async def test_what_is_read_of_responses_counts_as_a_body(pool, serve, tmp_path):
    dependencies = make_dependencies(pool, responses=tmp_path / "r", max_queue_size=50_000)
    client = await serve(public_app(dependencies))
    large = await create(client, input="x" * 30_000)
    with dependencies.intake.holding() as take:
        take(30_000)
        for request in (
            client.get(f"{PATH}/{large['id']}"),
            client.post(PATH, json=ASK | {"previous_response_id": large["id"]}),
            client.post(PATH, json={"input": [{"id": large["output"][0]["id"]}]}),
        ):
            assert (await request).json()["error"]["code"] == "queue_full"
    await create(client, previous_response_id=large["id"])
    with dependencies.intake.holding() as take:
        take(45_000)


async def test_a_response_has_a_largest_size(client, monkeypatch):
    monkeypatch.setattr("mlxd.stored_responses.LARGEST", 5000)
    small, large = await create(client), await create(client, input="x" * 5000)
    found = [(await client.get(f"{PATH}/{each['id']}")).status_code for each in (small, large)]
    assert found == [200, 404]
