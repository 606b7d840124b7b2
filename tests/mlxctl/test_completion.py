"""What a shell is given at a press of TAB."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mlxctl.conftest import DEADLINE, Run
from tests.mlxctl.fake_daemon import FakeDaemon
from tests.mlxctl.test_cli import imported_by

MODELS = ("GET", "/control/v1/models")
ALIASES = ("GET", "/control/v1/aliases")
LISTED = {"path": "/m", "size_bytes": 1, "architecture": "llama"}


@pytest.fixture
def complete(mlxctl: Run):
    """Give what bash would offer after `mlxctl WORDS`, the last of which is being typed."""

    def complete(*words: str) -> list[str]:
        line = {"COMP_WORDS": " ".join(["mlxctl", *words]), "COMP_CWORD": str(len(words))}
        done = mlxctl(_MLXCTL_COMPLETE="bash_complete", **line)
        assert done.stderr == ""
        return [entry.partition(",")[2] for entry in done.stdout.splitlines() if entry]

    return complete


@pytest.fixture
def listing(daemon: FakeDaemon) -> FakeDaemon:
    models = [{"id": "tiny", **LISTED}, {"id": "owner/big", **LISTED}]
    daemon.answers(MODELS, {"models": models})
    daemon.answers(ALIASES, {"aliases": [{"name": "tea", "model": "tiny"}]})
    return daemon


def test_commands_and_options(complete) -> None:
    assert complete("lo") == ["load", "logs"]
    assert complete("logs", "--le") == ["--level"]
    assert complete("logs", "--level", "w") == ["warning"]


def test_commands_are_completed_without_importing_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_MLXCTL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "mlxctl ")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert not {name for name in imported_by() if name.startswith("mlxctl.commands")}


@pytest.mark.parametrize(
    "words",
    [
        ["use"],
        ["load"],
        ["unload"],
        ["show"],
        ["rm"],
        ["alias", "x"],
        ["run", "-m"],
        ["chat", "-m"],
        ["logs", "--engine"],
    ],
)
def test_models_and_aliases(listing: FakeDaemon, complete, words: list[str]) -> None:
    assert complete(*words, "t") == ["tea", "tiny"]


def test_the_folders_of_models_without_a_daemon(home: Path, complete) -> None:
    for name in ("tiny", "owner/big", "owner/not", "empty"):
        (home / "models" / name).mkdir(parents=True)
    for name in ("tiny", "owner/big"):
        (home / "models" / name / "config.json").touch()
    assert complete("use", "") == ["owner/big", "tiny"]
    assert complete("use", "o") == ["owner/big"]


def test_silence_where_nothing_is_known(home: Path, complete) -> None:
    assert complete("use", "") == []
    (home / "config.toml").write_text("nonsense = 1")
    assert complete("use", "") == []


def test_bash_completes_by_the_script(listing: FakeDaemon, mlxctl: Run, tmp_path: Path) -> None:
    command = tmp_path / "mlxctl"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m mlxctl "$@"\n')
    command.chmod(0o700)
    program = f"""
PATH={tmp_path}:$PATH
eval "$(mlxctl completion bash)"
complete -p mlxctl
COMP_WORDS=(mlxctl use ti) COMP_CWORD=2
_mlxctl_completion mlxctl ti use
echo "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=DEADLINE)
    assert done.stdout.splitlines()[0].endswith("_mlxctl_completion mlxctl")
    assert done.stdout.splitlines()[-1] == "tiny"


@pytest.mark.parametrize(
    ("shell", "begins"), [("zsh", "#compdef mlxctl"), ("fish", "function _mlxctl_completion")]
)
def test_the_scripts_of_the_other_shells(mlxctl: Run, shell: str, begins: str) -> None:
    assert mlxctl("completion", shell).stdout.startswith(begins)
    assert mlxctl("completion", "tcsh").returncode == 2
