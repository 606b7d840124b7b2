"""Agents, unchanged, through a whole task: the engine answers by script, all else is real."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.conftest import PROGRAMS, Client, Environments
from tests.fakes.scripted_engine import Answer, Scene
from tests.support.daemon_process import DaemonProcess
from tests.support.scripted import refused, running_scripted_daemon

pytestmark = pytest.mark.slow

TASK, DONE, NOTES = "Copy my notes.", "The copy is made.", "buy milk\n"

OPENCODE = Scene(
    TASK,
    [
        Answer(
            reasoning="I do not know their names.",
            text="I look for them.",
            calls=[("bash", {"command": "ls", "description": "List the files"})],
        ),
        Answer(
            calls=[("read", {"filePath": "notes.txt"}), ("bash", {"command": "echo two at once"})],
            after="notes.txt",
        ),
        Answer(calls=[("write", {"filePath": "copy.txt", "content": NOTES})], after="two at once"),
        Answer(text=DONE),
    ],
)
SMOLAGENTS = Scene(
    TASK,
    [
        Answer(text="I look for them.", calls=[("list_files", {})]),
        Answer(calls=[("write_file", {"name": "copy.txt", "content": NOTES})], after="notes.txt"),
        Answer(calls=[("final_answer", {"answer": DONE})], after="copy.txt is written"),
    ],
)


@pytest.fixture(scope="module")
def agents_daemon() -> Iterator[DaemonProcess]:
    with running_scripted_daemon(opencode=[OPENCODE], smolagents=[SMOLAGENTS]) as daemon:
        yield daemon


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the folder that the agent works in."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "notes.txt").write_text(NOTES)
    return tmp_path / "work"


def test_opencode(environments: Environments, agents_daemon: DaemonProcess, folder: Path) -> None:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{agents_daemon.url}/v1"},
        "models": {"opencode": {}},
    }
    settings = {"provider": {"mlxd": provider}, "permission": "allow"}
    (folder / "opencode.json").write_text(json.dumps(settings))
    opencode = Client([environments.node_command("opencode")], agents_daemon.url)
    printed = opencode.run(
        *("run", "--format", "json", "--model", "mlxd/opencode", TASK),
        folder=folder,
        HOME=str(folder.parent),
        OPENCODE_DISABLE_AUTOUPDATE="1",
        OPENCODE_DISABLE_LSP_DOWNLOAD="1",
        OPENCODE_DISABLE_MODELS_FETCH="1",
        npm_config_offline="true",
    )
    said = [json.loads(line)["part"].get("text") for line in printed.splitlines()]
    assert [text for text in said if text] == ["I look for them.", DONE]
    assert (folder / "copy.txt").read_text() == NOTES
    assert not refused(agents_daemon)


def test_smolagents(environments: Environments, agents_daemon: DaemonProcess, folder: Path) -> None:
    python = environments.command("client-smolagents", "python")
    agent = Client([python, PROGRAMS / "smolagents_agent.py"], agents_daemon.url)
    printed = agent.run(f"{agents_daemon.url}/v1", "smolagents", folder, TASK)
    assert json.loads(printed.splitlines()[-1]) == [DONE, DONE]
    assert (folder / "copy.txt").read_text() == NOTES
    assert not refused(agents_daemon)
