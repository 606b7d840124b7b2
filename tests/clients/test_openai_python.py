"""The `openai` client, unchanged, on a real model through both doors."""

import json
from collections.abc import Iterator

import httpx
import openai
import pytest
from pydantic import BaseModel

from tests.support.daemon_process import DaemonProcess

pytestmark = pytest.mark.slow

QUESTION = "What is the capital of France?"
ASKED = {"role": "user", "content": "What is the weather in Paris?"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


class City(BaseModel):
    name: str
    capital: bool


@pytest.fixture
def client(daemon: DaemonProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="unused") as client:
        yield client


@pytest.fixture(params=["tcp", "unix"])
def either_client(
    request: pytest.FixtureRequest, daemon: DaemonProcess, client: openai.OpenAI
) -> Iterator[openai.OpenAI]:
    """The client through both doors, for what a door could change."""
    if request.param == "tcp":
        yield client
        return
    transport = httpx.HTTPTransport(uds=str(daemon.socket))
    with httpx.Client(transport=transport) as http_client:
        yield client.with_options(base_url="http://localhost/v1", http_client=http_client)


def test_it_lists_models(either_client: openai.OpenAI) -> None:
    assert [model.id for model in either_client.models.list()] == ["smollm2-135m"]
    assert either_client.models.retrieve("smollm2-135m").owned_by == "mlxd"


def test_it_chats(either_client: openai.OpenAI) -> None:
    reply = either_client.chat.completions.create(
        model="smollm2-135m", messages=[{"role": "user", "content": QUESTION}], max_tokens=20
    )
    assert "Paris" in (reply.choices[0].message.content or "")
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_it_streams(either_client: openai.OpenAI) -> None:
    chunks = list(
        either_client.chat.completions.create(
            model="smollm2-135m",
            messages=[{"role": "user", "content": [{"type": "text", "text": QUESTION}]}],
            max_completion_tokens=20,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *pieces, last, usage = chunks
    text = "".join(chunk.choices[0].delta.content or "" for chunk in pieces)
    assert "Paris" in text
    assert last.choices[0].finish_reason == "stop"
    assert usage.choices == []
    assert usage.usage
    assert usage.usage.completion_tokens > 1


def test_it_completes_text_and_stops_where_told(client: openai.OpenAI) -> None:
    reply = client.completions.create(
        model="smollm2-135m", prompt="one, two, three, four,", max_tokens=12, stop="seven"
    )
    assert reply.choices[0].text.startswith(" five, six")
    assert "seven" not in reply.choices[0].text
    assert reply.choices[0].finish_reason == "stop"


def test_a_seed_repeats_a_hot_answer(client: openai.OpenAI) -> None:
    texts = {
        client.completions.create(
            model="smollm2-135m", prompt="Once", max_tokens=8, temperature=1.5, seed=seed
        )
        .choices[0]
        .text
        for seed in (7, 7, 8)
    }
    assert len(texts) == 2


def test_its_mistakes_come_back_as_its_own_exceptions(either_client: openai.OpenAI) -> None:
    user = {"role": "user", "content": "hi"}
    with pytest.raises(openai.NotFoundError) as unknown:
        either_client.chat.completions.create(model="smollm3", messages=[user])
    assert unknown.value.param == "model"
    assert "smollm2-135m" in unknown.value.message
    with pytest.raises(openai.BadRequestError) as empty:
        either_client.chat.completions.create(model="smollm2-135m", messages=[])
    assert empty.value.param == "messages"
    with pytest.raises(openai.BadRequestError) as too_long:
        either_client.completions.create(model="smollm2-135m", prompt="word " * 9000)
    assert too_long.value.code == "context_length_exceeded"


def test_it_has_a_function_called_and_sends_the_result_back(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(
        model="smollm2-135m",
        messages=[ASKED],
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        max_tokens=60,
    )
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    (call,) = message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "It is sunny in Paris."}
    second = client.chat.completions.create(
        model="smollm2-135m", messages=[ASKED, message, result], tools=[WEATHER], max_tokens=30
    )
    assert "sunny" in second.choices[0].message.content


def test_it_streams_a_call(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="smollm2-135m",
        messages=[ASKED],
        tools=[WEATHER],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=60,
    ) as stream:
        for _event in stream:
            pass
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_it_parses_what_matches_a_schema(client: openai.OpenAI) -> None:
    reply = client.chat.completions.parse(
        model="smollm2-135m",
        messages=[{"role": "user", "content": "Paris"}],
        response_format=City,
        max_tokens=60,
    )
    assert isinstance(reply.choices[0].message.parsed, City)


def test_it_tells_log_probabilities(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="smollm2-135m",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=3,
        logprobs=True,
        top_logprobs=2,
    )
    content = reply.choices[0].logprobs.content
    assert "".join(entry.token for entry in content) == reply.choices[0].message.content
    assert all(entry.top_logprobs[0].logprob == entry.logprob <= 0 for entry in content)


async def test_its_asynchronous_half_streams(daemon: DaemonProcess) -> None:
    async with openai.AsyncOpenAI(base_url=f"{daemon.url}/v1", api_key="unused") as client:
        stream = await client.chat.completions.create(
            model="smollm2-135m",
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=20,
            stream=True,
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "Paris" in "".join(pieces)


def test_a_mistake_is_an_exception_that_names_the_field(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="smollm2-135m", messages=[ASKED], response_format={"type": "json"}
        )
    assert caught.value.param == "response_format.type"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nothing", messages=[ASKED])
