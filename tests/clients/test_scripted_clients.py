"""Clients of Anthropic's and Ollama's APIs, unchanged, through whole conversations.

The engine answers by script, so that thoughts, functions and their results come for certain.
"""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import beta_tool
from anthropic.types.beta import BetaMessage

from tests.clients.conftest import Environments
from tests.fakes.scripted_engine import OTHERWISE, Answer, Scene
from tests.support.daemon_process import DaemonProcess
from tests.support.scripted import running_scripted_daemon

pytestmark = pytest.mark.slow

QUESTION: Any = {"role": "user", "content": "How is the weather in Oslo?"}
THOUGHTS, CALL = "I do not know it.", {"city": "Oslo"}
SCENES = [
    Scene(
        "the weather",
        [
            Answer(reasoning=THOUGHTS, text="I ask.", calls=[("weather", CALL)]),
            Answer(text="It is sunny.", after="sun"),
        ],
    ),
    Scene("Describe Oslo.", [Answer(text='{"city": "Oslo"}')]),
]


@pytest.fixture(scope="module")
def scripted() -> Iterator[DaemonProcess]:
    with running_scripted_daemon(script=SCENES) as daemon:
        yield daemon


@pytest.fixture
def client(scripted: DaemonProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=scripted.url, api_key="none", max_retries=0) as client:
        yield client


def test_anthropic_for_javascript(environments: Environments, scripted: DaemonProcess) -> None:
    report = environments.node_client(scripted, "anthropic.mjs").report(scripted.url, "script")
    assert report["models"] == ["script"]
    assert 0 < report["counted"] < report["prompt"]
    assert (report["events"][0], report["events"][-1]) == ("message_start", "message_stop")
    assert report["events"].count("content_block_start") == 3
    assert (report["thinking"], report["text"]) == (THOUGHTS, "I ask.")
    assert report["input"] == '{"city": "Oslo"}'
    assert report["blocks"] == report["content"]
    assert [block["type"] for block in report["content"]] == ["thinking", "text", "tool_use"]
    assert report["content"][2]["input"] == CALL
    assert report["stop_reason"] == "tool_use"
    assert report["answer"] == "It is sunny."
    assert report["runner"] == ["It is sunny.", ["tool_use", "end_turn"], ["Oslo", "Oslo"]]
    assert report["parsed"] == CALL
    assert report["errors"] == [
        [True, 404, "not_found_error", True],
        [True, 400, "invalid_request_error", True],
    ]


def test_ollama_for_javascript(environments: Environments, scripted: DaemonProcess) -> None:
    report = environments.node_client(scripted, "ollama.mjs").report(scripted.url, "script")
    called = {"name": "weather", "arguments": CALL}
    assert report["models"] == report["running"] == ["script"]
    assert report["capabilities"] == ["completion", "tools"]
    assert (report["thinking"], report["calls"]) == (THOUGHTS, [called])
    assert report["streamed"] == {
        "thinking": THOUGHTS,
        "text": "I ask.",
        "calls": [called],
        "reason": "stop",
    }
    assert report["answer"] == "It is sunny."
    assert report["generated"] == report["continued"] == OTHERWISE.text
    assert report["formatted"] == CALL
    assert report["aborted"] == "AbortError"
    assert report["error"] == [404, "model 'none' does not exist; installed: script"]


def test_programs_take_it_for_a_recent_ollama(scripted: DaemonProcess) -> None:
    """VS Code wants 0.6.4 or later, and numbers between dots: microsoft/vscode#278842, exo#2042."""
    version = scripted.local.get("/api/version").json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)


def test_the_tool_runner_of_anthropic_for_python(client: anthropic.Anthropic) -> None:
    cities = []

    @beta_tool
    def weather(city: str) -> str:
        """Tell the weather.

        Args:
            city: Where.
        """
        cities.append(city)
        return "sun"

    runner = client.beta.messages.tool_runner(
        model="script", max_tokens=4096, messages=[QUESTION], tools=[weather]
    )
    turns = [turn for turn in runner if isinstance(turn, BetaMessage)]
    assert [turn.stop_reason for turn in turns] == ["tool_use", "end_turn"]
    assert cities == ["Oslo"]
    last = turns[-1].content[-1]
    assert last.type == "text"
    assert last.text == "It is sunny."


def test_thoughts_come_back_with_their_signature(client: anthropic.Anthropic) -> None:
    ask: Any = {
        "model": "script",
        "max_tokens": 4096,
        "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
        "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
    }
    with client.messages.stream(messages=[QUESTION], **ask) as stream:
        called = stream.get_final_message()
    thoughts, _, call = called.content
    assert thoughts.type == "thinking"
    assert call.type == "tool_use"
    assert (thoughts.thinking, bool(thoughts.signature)) == ("", True)
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "sun"}
    turns: Any = [
        QUESTION,
        {"role": "assistant", "content": called.content},
        {"role": "user", "content": [result]},
    ]
    answer = client.messages.create(messages=turns, **ask).content[0]
    assert answer.type == "text"
    assert answer.text == "It is sunny."
