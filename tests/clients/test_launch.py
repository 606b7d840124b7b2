"""`mlxctl launch` starts agents, unchanged, on a whole task: the engine answers by script.

The homes that they run in are new: nothing but what mlxctl tells them leads them to the daemon.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Client, Environments
from tests.fakes.scripted_engine import Answer, Scene
from tests.support.daemon_process import DaemonProcess
from tests.support.scripted import refused, running_scripted_daemon

pytestmark = pytest.mark.slow

TASK, DONE, NOTES = "Copy my notes.", "The copy is made.", "buy milk\n"
LOOKS, THINKS = "I look for them.", "I do not know their names."


def scene(function: str, argument: str, **others: str) -> Scene:
    """Return a task of two commands, each run by calling `function`."""
    look, copy = ({argument: command, **others} for command in ("ls", "cp notes.txt copy.txt"))
    return Scene(
        TASK,
        [
            Answer(reasoning=THINKS, text=LOOKS, calls=[(function, look)]),
            Answer(calls=[(function, copy)], after="notes.txt"),
            Answer(text=DONE),
        ],
    )


@pytest.fixture(scope="module")
def daemon() -> Iterator[DaemonProcess]:
    with running_scripted_daemon(
        claude=[scene("Bash", "command")],
        codex=[scene("exec_command", "cmd")],
        opencode=[scene("bash", "command", description="Work with the notes")],
    ) as daemon:
        yield daemon


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the folder that the agent works in."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "notes.txt").write_text(NOTES)
    return tmp_path / "work"


def launch(
    environments: Environments, daemon: DaemonProcess, folder: Path, agent: str, *arguments: str
) -> list[dict[str, Any]]:
    """Return what the agent printed, which is lines of JSON, after it has done the task."""
    programs = environments.node_command(agent).parent
    mlxctl = Client([sys.executable, "-m", "mlxctl"], daemon.url)
    printed = mlxctl.run(
        *("launch", agent, "--model", agent, "--", *arguments),
        folder=folder,
        HOME=str(folder.parent),
        MLXD_HOME=str(daemon.home),
        PATH=f"{programs}:{os.environ['PATH']}",
        CODEX_HOME="",
        OPENCODE_DISABLE_AUTOUPDATE="1",
        OPENCODE_DISABLE_LSP_DOWNLOAD="1",
        OPENCODE_DISABLE_MODELS_FETCH="1",
        npm_config_offline="true",
    )
    assert (folder / "copy.txt").read_text() == NOTES
    assert not refused(daemon)
    return [json.loads(line) for line in printed.splitlines()]


def test_claude_code(environments: Environments, daemon: DaemonProcess, folder: Path) -> None:
    events = launch(
        *(environments, daemon, folder, "claude"),
        *("-p", TASK, "--allowedTools", "Bash", "--output-format", "stream-json", "--verbose"),
    )
    turns = [event["message"]["content"] for event in events if event["type"] == "assistant"]
    said = [block.get("thinking") or block.get("text") for turn in turns for block in turn]
    assert [text for text in said if text] == [THINKS, LOOKS, DONE]
    assert (events[-1]["result"], events[-1]["is_error"]) == (DONE, False)


def test_codex(environments: Environments, daemon: DaemonProcess, folder: Path) -> None:
    options = ("--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
    events = launch(environments, daemon, folder, "codex", "exec", *options, TASK)
    done = [event["item"] for event in events if event["type"] == "item.completed"]
    texts = [item["text"] for item in done if item["type"] in ("reasoning", "agent_message")]
    statuses = [item["exit_code"] for item in done if item["type"] == "command_execution"]
    assert texts == [THINKS, LOOKS, DONE]
    assert statuses == [0, 0]


def test_opencode(environments: Environments, daemon: DaemonProcess, folder: Path) -> None:
    events = launch(environments, daemon, folder, "opencode", "run", "--format", "json", TASK)
    said = [event["part"]["text"] for event in events if event["type"] == "text"]
    assert said == [LOOKS, DONE]
