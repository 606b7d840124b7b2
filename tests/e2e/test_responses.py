"""Conversations that the daemon keeps, with models that know nothing."""

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import openai
import pytest
from pydantic import BaseModel

from scripts.tiny_model import make_tiny_model
from tests.support.daemon_process import DaemonProcess, running_daemon
from tests.support.open_responses import checked_response, checked_stream
from tests.support.talkative_model import make_talkative_model

pytestmark = pytest.mark.slow

PATH = "/v1/responses"
LONG = "Tell me about the capital of France. " * 20
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "days": {"type": "integer", "maximum": 99}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "name": "get_weather", "parameters": CITY, "strict": True},
    {"type": "function", "name": "get_time", "parameters": {"type": "object", "properties": {}}},
    {
        "type": "custom",
        "name": "count",
        "format": {"type": "grammar", "syntax": "regex", "definition": "[0-9]{1,4}"},
    },
]


class City(BaseModel):
    name: str
    capital: bool


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_talkative_model(folder / "talkative")
    make_tiny_model(folder / "marked", marked=True, context_length=8192)
    return folder


@pytest.fixture
def home(models: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        (Path(folder) / "models").symlink_to(models)
        yield Path(folder)


@pytest.fixture(scope="module")
def daemon(models: Path) -> Iterator[DaemonProcess]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        (Path(folder) / "models").symlink_to(models)
        with running_daemon(Path(folder), "--model", "talkative") as one:
            yield one


def create(daemon: DaemonProcess, **fields: Any) -> dict[str, Any]:
    reply = daemon.local.post(PATH, json=fields, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_a_conversation_goes_on_after_a_sigkill_without_reading_it_again(home: Path) -> None:
    with running_daemon(home, "--model", "talkative") as daemon:
        first = create(daemon, input=LONG, max_output_tokens=20)
        second = create(
            daemon, input="And Spain?", max_output_tokens=20, previous_response_id=first["id"]
        )
        read = second["usage"]["input_tokens"]
        (loaded,) = [each for each in daemon.status()["models"] if each["pid"]]
        os.kill(daemon.process.pid, signal.SIGKILL)
        os.kill(loaded["pid"], signal.SIGKILL)
        daemon.process.wait()
    with running_daemon(home, "--model", "talkative") as daemon:
        assert daemon.local.get(f"{PATH}/{second['id']}").json() == second
        third = create(
            daemon, input="And Italy?", max_output_tokens=20, previous_response_id=second["id"]
        )
        assert third["usage"]["input_tokens_details"]["cached_tokens"] > read * 0.9
        items = daemon.local.get(f"{PATH}/{third['id']}/input_items?order=asc").json()["data"]
        said = [item["content"][0]["text"] for item in items if item["type"] == "message"]
        assert [said[0], said[2], said[4]] == [LONG, "And Spain?", "And Italy?"]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"get_weather", "get_time", "count"}),
        ({"type": "function", "name": "get_weather"}, {"get_weather"}),
        ({"type": "custom", "name": "count"}, {"count"}),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "get_time"}, TOOLS[2]],
            },
            {"get_time", "count"},
        ),
    ],
)
def test_a_tool_choice_holds_whatever_the_model_knows(
    daemon: DaemonProcess, choice: Any, names: set[str]
) -> None:
    for seed in range(25):  # 100 in all
        response = create(
            daemon,
            model="marked" if seed % 2 else "talkative",
            input="Hi",
            tools=TOOLS,
            tool_choice=choice,
            parallel_tool_calls=False,
            temperature=1.0,
            seed=seed,
            max_output_tokens=300,
            reasoning={"effort": "none"},
            store=False,
        )
        calls = [item for item in response["output"] if item["type"] != "reasoning"]
        assert [call["name"] in names for call in calls] == [True], response["output"]
        for call in calls:
            if call["name"] == "get_weather":
                jsonschema_rs.validate(CITY, json.loads(call["arguments"]))
            if call["name"] == "count":
                assert call["input"].isdecimal()


def test_the_openai_client(daemon: DaemonProcess) -> None:
    client = openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0)
    response = client.responses.create(model="talkative", input="Hi", max_output_tokens=30)
    assert response.output_text
    parsed = client.responses.parse(model="talkative", input="Hi", text_format=City)
    assert isinstance(parsed.output_parsed, City)
    with client.responses.stream(model="talkative", input="Hi", text_format=City) as stream:
        assert [event.type for event in stream][-1] == "response.completed"
        assert isinstance(stream.get_final_response().output_parsed, City)
    called = client.responses.create(
        model="talkative", input="Hi", tools=TOOLS, tool_choice="required"
    )
    results = [
        {"type": f"{item.type}_output", "call_id": item.call_id, "output": "It is sunny."}
        for item in called.output
    ]
    after = client.responses.create(
        model="talkative", input=results, previous_response_id=called.id, max_output_tokens=5
    )
    assert after.status in ("completed", "incomplete")


@pytest.mark.parametrize("stream", [False, True])
def test_a_thinking_model_keeps_to_the_specification(daemon: DaemonProcess, stream: bool) -> None:
    body = {"model": "marked", "input": "Hi", "max_output_tokens": 20, "stream": stream}
    reply = daemon.local.post(PATH, json=body, timeout=60)
    last = checked_stream(reply.content)[-1]["response"] if stream else reply.json()
    assert checked_response(last)["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["output"][0]["type"] == "reasoning"
    assert last["usage"]["output_tokens_details"]["reasoning_tokens"] > 0
