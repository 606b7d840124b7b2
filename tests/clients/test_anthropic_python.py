"""The `anthropic` client, unchanged, on a real model."""

from collections.abc import Iterator

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam

from tests.support.daemon_process import DaemonProcess

pytestmark = pytest.mark.slow

MODEL = "smollm2-135m"
QUESTION: MessageParam = {"role": "user", "content": "What is the capital of France?"}
WEATHER: ToolParam = {
    "name": "get_weather",
    "description": "Tell the weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def client(daemon: DaemonProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=daemon.url, api_key="unused") as client:
        yield client


def test_it_lists_models(client: anthropic.Anthropic) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).type == "model"


def test_it_answers_and_counts(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model=MODEL, max_tokens=20, messages=[QUESTION])
    (block,) = message.content
    assert block.type == "text"
    assert "Paris" in block.text
    assert message.stop_reason == "end_turn"
    counted = client.messages.count_tokens(model=MODEL, messages=[QUESTION])
    assert counted.input_tokens == message.usage.input_tokens


def test_it_streams_up_to_a_stop_sequence(client: anthropic.Anthropic) -> None:
    with client.messages.stream(
        model=MODEL, max_tokens=20, messages=[QUESTION], stop_sequences=["Paris"]
    ) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text.endswith("France is ")
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "Paris")


def test_it_calls_a_tool_and_takes_the_result(client: anthropic.Anthropic) -> None:
    with client.messages.stream(
        model=MODEL,
        max_tokens=60,
        messages=[QUESTION],
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
    ) as stream:
        called = stream.get_final_message()
    (call,) = called.content
    assert called.stop_reason == "tool_use"
    assert call.type == "tool_use"
    assert call.input["city"] in ("Paris", "Rome")
    result: MessageParam = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "Sunny."}],
    }
    answer = client.messages.create(
        model=MODEL,
        max_tokens=5,
        messages=[QUESTION, {"role": "assistant", "content": called.content}, result],
        tools=[WEATHER],
    )
    assert answer.role == "assistant"


def test_errors_are_its_own(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="'claude' does not exist"):
        client.messages.create(model="claude", max_tokens=5, messages=[QUESTION])
    with pytest.raises(anthropic.BadRequestError, match="`max_tokens`: expected"):
        client.messages.create(model=MODEL, max_tokens=0, messages=[QUESTION])
