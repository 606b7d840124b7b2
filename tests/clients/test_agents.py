"""Agents, unchanged, through a whole task: the engine answers by script, all else is real."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.conftest import PROGRAMS, REPOSITORY, Client, Environments
from tests.fakes.scripted_engine import Answer, Scene
from tests.support.daemon_process import DaemonProcess
from tests.support.scripted import refused, running_scripted_daemon

pytestmark = pytest.mark.slow

CLIENTS_PAGE = REPOSITORY / "docs" / "clients.md"
COMPATIBLE = "@ai-sdk/openai-compatible"
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


def example(name: str, model: str, daemon: DaemonProcess) -> str:
    """Return the file `name` as docs/clients.md shows it, for this daemon and model."""
    section = CLIENTS_PAGE.read_text().partition(f"`{name}`")[2]
    text = section.partition("```")[2].partition("\n")[2].partition("```")[0]
    return text.replace("http://127.0.0.1:8080", daemon.url).replace("MODEL", model)


@pytest.mark.parametrize("provider", ["@ai-sdk/openai", "@ai-sdk/anthropic"])
def test_opencode(
    environments: Environments, agents_daemon: DaemonProcess, folder: Path, provider: str
) -> None:
    """Use the two other packages; test_launch.py has the one that mlxctl names."""
    settings = example("opencode.json", "opencode", agents_daemon)
    (folder / "opencode.json").write_text(settings.replace(COMPATIBLE, provider))
    opencode = Client([environments.node_command("opencode")], agents_daemon.url)
    printed = opencode.run(
        *("run", "--format", "json", "--model", "mlxd/opencode", TASK),
        folder=folder,
        HOME=str(folder.parent),
        OPENCODE_DISABLE_AUTOUPDATE="1",
        OPENCODE_DISABLE_LSP_DOWNLOAD="1",
        OPENCODE_DISABLE_MODELS_FETCH="1",
        ANTHROPIC_API_KEY="none",
        OPENAI_API_KEY="none",
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
