"""The engine that answers by script, as the daemon's clients see it."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.fakes.scripted_engine import OTHERWISE, Answer, Scene
from tests.support.daemon_process import DaemonProcess, wait_until
from tests.support.scripted import refused, running_scripted_daemon

pytestmark = pytest.mark.slow

SCENE = Scene(
    "the weather",
    [
        Answer(reasoning="I ask.", calls=[("weather", {"city": "Oslo"}), ("time", {})]),
        Answer(text="It is sunny.", after="sun"),
    ],
)
TOOLS: Any = [{"type": "function", "function": {"name": name}} for name in ("weather", "time")]
QUESTION: Any = {"role": "user", "content": "How is the weather in Oslo?"}


@pytest.fixture(scope="module")
def scripted_daemon() -> Iterator[DaemonProcess]:
    with running_scripted_daemon(script=[SCENE]) as daemon:
        yield daemon


@pytest.fixture
def client(scripted_daemon: DaemonProcess) -> Iterator[openai.OpenAI]:
    url = f"{scripted_daemon.url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, *messages: Any, tools: Any = TOOLS) -> Any:
    chat = client.chat.completions
    return chat.create(model="script", messages=list(messages), tools=tools).choices[0]


def test_a_scene_goes_on_with_the_conversation(client: openai.OpenAI) -> None:
    first = ask(client, QUESTION)
    assert first.finish_reason == "tool_calls"
    assert first.message.reasoning_content == "I ask."
    assert [call.function.name for call in first.message.tool_calls] == ["weather", "time"]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": content}
        for call, content in zip(first.message.tool_calls, ("sun", "noon"), strict=True)
    ]
    last = ask(client, QUESTION, first.message, *results)
    assert (last.message.content, last.finish_reason) == ("It is sunny.", "stop")


def test_what_no_scene_knows_gets_an_answer_too(client: openai.OpenAI) -> None:
    assert ask(client, {"role": "user", "content": "A title?"}).message.content == OTHERWISE.text
    assert ask(client, QUESTION, tools=openai.omit).message.content == OTHERWISE.text


@pytest.mark.parametrize(
    ("messages", "tools", "complaint"),
    [
        ([], TOOLS[1:], "weather is none of the functions"),
        (
            [{"role": "assistant", "content": "Sun?"}, {"role": "user", "content": "No."}],
            TOOLS,
            "after 'sun'",
        ),
    ],
    ids=["no such function", "no result"],
)
def test_an_agent_that_is_off_script_is_refused(
    client: openai.OpenAI,
    scripted_daemon: DaemonProcess,
    messages: list[Any],
    tools: Any,
    complaint: str,
) -> None:
    with pytest.raises(openai.BadRequestError, match=complaint):
        ask(client, QUESTION, *messages, tools=tools)
    wait_until(lambda: bool(refused(scripted_daemon)), "the log tells of it")
