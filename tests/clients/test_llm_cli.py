"""The `llm` command with an OpenAI-compatible model, as its documentation sets one up."""

import json
from pathlib import Path

import pytest

from tests.clients.conftest import MODEL, Client, Environments
from tests.support.daemon_process import DaemonProcess

pytestmark = pytest.mark.slow

QUESTION = "What is the capital of France?"
OPTIONS = ["-m", "local", "-o", "temperature", "0", "-o", "max_tokens", "60"]


class Llm:
    """The command, with a folder of its own for its settings."""

    def __init__(self, client: Client, home: Path) -> None:
        self._client = client
        self._home = home

    def __call__(self, *arguments: str | Path) -> str:
        return self._client.run(*arguments, LLM_USER_PATH=str(self._home))


@pytest.fixture(scope="module")
def llm(
    environments: Environments, daemon: DaemonProcess, tmp_path_factory: pytest.TempPathFactory
) -> Llm:
    home = tmp_path_factory.mktemp("llm")
    (home / "extra-openai-models.yaml").write_text(
        "- model_id: local\n"
        f"  model_name: {MODEL}\n"
        f"  api_base: {daemon.url}/v1\n"
        "  supports_schema: true\n"
        "  supports_tools: true\n"
    )
    return Llm(Client([environments.command("client-llm", "llm")], daemon.url), home)


def test_it_lists_the_model(llm: Llm) -> None:
    assert "OpenAI Chat: local" in llm("models")


def test_it_chats_and_streams_the_same(llm: Llm) -> None:
    whole = llm("--no-stream", *OPTIONS, QUESTION)
    assert "Paris" in whole
    assert llm(*OPTIONS, QUESTION) == whole


def test_it_gets_what_matches_a_schema(llm: Llm) -> None:
    city = json.loads(llm(*OPTIONS, "--schema", "name, capital bool", "Paris"))
    assert set(city) == {"name", "capital"}
    assert isinstance(city["capital"], bool)


def test_it_calls_functions_and_sends_the_result_back(llm: Llm, tmp_path: Path) -> None:
    functions = tmp_path / "functions.py"
    functions.write_text(
        'def get_weather(city: str) -> str:\n    """Tell the weather in a city."""\n'
        '    return f"It is sunny in {city}."\n'
    )
    # It leaves the choice to the model, and one as small as ours calls what it is shown.
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    assert "sunny in Paris" in llm(*OPTIONS, "--functions", functions, f"Repeat this: {call}")
