"""What a shell offers when TAB is pressed."""

import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxd import lock
from tests.mlxctl.conftest import DEADLINE, Run, imported_by
from tests.support.fake_daemon import FakeDaemon

MODELS = ("GET", "/control/v1/models")
ALIASES = ("GET", "/control/v1/aliases")
LISTED = {"path": "/m", "size_bytes": 1, "architecture": "llama"}


@pytest.fixture
def complete(mlxctl: Run):
    """Return what bash offers after `mlxctl WORDS`, while the last word is being typed."""

    def complete(*words: str) -> list[str]:
        line = {"COMP_WORDS": " ".join(["mlxctl", *words]), "COMP_CWORD": str(len(words))}
        done = mlxctl(_MLXCTL_COMPLETE="bash_complete", **line)
        assert done.stderr == ""
        return [entry.partition(",")[2] for entry in done.stdout.splitlines() if entry]

    return complete


@pytest.fixture
def asleep(listener: FakeDaemon) -> FakeDaemon:
    models = [{"id": "tiny", **LISTED}, {"id": "owner/big", **LISTED}]
    listener.answers(MODELS, {"models": models})
    listener.answers(ALIASES, {"aliases": [{"name": "tea", "model": "tiny"}]})
    return listener


@pytest.fixture
def listing(home: Path, asleep: FakeDaemon) -> Iterator[FakeDaemon]:
    with lock.hold(home / "run" / "mlxd.lock"):
        yield asleep


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
        ["cache", "clear"],
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


def test_aliases_alone(listing: FakeDaemon, complete) -> None:
    assert complete("alias", "--rm", "") == ["tea"]


def test_completion_does_not_start_the_daemon(asleep: FakeDaemon, complete) -> None:
    assert complete("use", "") == []


def test_no_messages_if_nothing_is_known(home: Path, complete) -> None:
    assert complete("use", "") == []
    (home / "config.toml").write_text("nonsense = 1")
    assert complete("use", "") == []


@pytest.fixture
def on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let shells find `mlxctl`."""
    script = tmp_path / "mlxctl"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m mlxctl "$@"\n')
    script.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.mark.parametrize(
    "shell",
    [
        ["bash", "--norc", "-i"],
        pytest.param(["zsh", "-f", "-i"], marks=needs("zsh")),
    ],
    ids=["bash", "zsh"],
)
def test_pressing_tab(listing: FakeDaemon, on_the_path: None, shell: list[str]) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(shell[0], shell, {**os.environ, "TERM": "dumb", "PS1": "$ "})
    deadline = threading.Timer(DEADLINE, os.kill, (pid, signal.SIGKILL))
    deadline.start()

    def sees(text: bytes) -> None:
        shown = b""
        while text not in shown:
            shown += os.read(terminal, 65536)

    sees(b"$ ")
    if shell[0] == "zsh":
        os.write(terminal, b"autoload -U compinit; compinit -u -D\n")
    os.write(terminal, f'eval "$(mlxctl completion {shell[0]})"; echo re""ady\n'.encode())
    sees(b"ready")
    for typed, completed in [
        (b"mlxctl use ti\t", b"use tiny "),
        (b"mlxctl ver\t", b" version "),
        (b"mlxctl logs --level w\t", b"--level warning "),
    ]:
        os.write(terminal, typed)
        sees(completed)
        os.write(terminal, b"\x15")  # Ctrl-U
    deadline.cancel()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(terminal)


@needs("fish")
def test_fish_completes_by_the_script(listing: FakeDaemon, on_the_path: None) -> None:
    program = "mlxctl completion fish | source; complete -C 'mlxctl use t'; complete -C 'mlxctl ve'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", program], capture_output=True, text=True, timeout=DEADLINE
    )
    version = "version\tShow the versions of mlxctl and the daemon."
    assert (done.stdout.splitlines(), done.stderr) == (["tea", "tiny", version], "")


def test_other_shells_are_refused(mlxctl: Run) -> None:
    assert mlxctl("completion", "tcsh").returncode == 2
