"""Codex, unchanged, through a whole task: the engine answers by script, all else is real."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.conftest import Client, Environments
from tests.fakes.scripted_engine import Answer, Scene
from tests.support.daemon_process import DaemonProcess
from tests.support.scripted import refused, running_scripted_daemon

pytestmark = pytest.mark.slow

TASK, DONE, NOTES = "Copy my notes.", "The copy is made.", "buy milk\n"
SCENE = Scene(
    TASK,
    [
        Answer(
            reasoning="I do not know their names.",
            text="I look for them.",
            calls=[("exec_command", {"cmd": "ls"})],
        ),
        Answer(calls=[("exec_command", {"cmd": "cp notes.txt copy.txt"})], after="notes.txt"),
        Answer(text=DONE),
    ],
)
CONFIG = """\
model = "codex"
model_provider = "mlxd"

[model_providers.mlxd]
name = "mlxd"
base_url = "{url}/v1"
wire_api = "responses"
"""


@pytest.fixture(scope="module")
def codex_daemon() -> Iterator[DaemonProcess]:
    with running_scripted_daemon(codex=[SCENE]) as daemon:
        yield daemon


def test_a_whole_task(
    environments: Environments, codex_daemon: DaemonProcess, tmp_path: Path
) -> None:
    work, home = tmp_path / "work", tmp_path / ".codex"
    work.mkdir()
    home.mkdir()
    (work / "notes.txt").write_text(NOTES)
    (home / "config.toml").write_text(CONFIG.format(url=codex_daemon.url))
    codex = Client([environments.node_command("codex")], codex_daemon.url)
    options = ("--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
    printed = codex.run(
        "exec", *options, TASK, folder=work, HOME=str(tmp_path), CODEX_HOME=str(home)
    )
    events = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    done = [event["item"] for event in events if event["type"] == "item.completed"]
    said = [item["text"] for item in done if item["type"] == "agent_message"]
    thought = [item["text"] for item in done if item["type"] == "reasoning"]
    commands = [item for item in done if item["type"] == "command_execution"]
    assert said == ["I look for them.", DONE]
    assert thought == ["I do not know their names."]
    assert [command["exit_code"] for command in commands] == [0, 0]
    assert (work / "copy.txt").read_text() == NOTES
    assert not refused(codex_daemon)
