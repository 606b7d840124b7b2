"""The commands, their exit statuses, and what they must not import."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from mlxctl.cli import _COMMANDS
from mlxd import __version__
from tests.mlxctl.conftest import DEADLINE, Run, command, imported_by
from tests.support.fake_daemon import FakeDaemon, chunk

FORBIDDEN = {"mlx", "mlx_lm", "transformers", "huggingface_hub", "starlette", "uvicorn"}
# Each would cost `mlxctl status` a good part of its time.
SLOW = {"asyncio", "httpx", "rich", "subprocess"}


NOWHERE = dict.fromkeys(("socket", "config", "settings", "models_dir", "adapters_dir", "log"), "")


def test_help_lists_every_command_and_imports_none(mlxctl: Run) -> None:
    shown = mlxctl("--help").stdout
    assert all(f"  {name} " in shown for name in _COMMANDS)
    assert not {name for name in imported_by("--help") if name.startswith("mlxctl.commands")}


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_has_help(mlxctl: Run, name: str) -> None:
    done = mlxctl(name, "--help", COLUMNS="80")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: mlxctl {name} ")
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("name", ["status", "list", "run", "doctor"])
def test_no_command_loads_mlx_or_the_servers_libraries(home: Path, name: str) -> None:
    modules = imported_by(name, *(["hello"] if name == "run" else []))
    assert f"mlxctl.{'client'}" in modules
    assert not modules & FORBIDDEN


def test_status_imports_nothing_slow(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home))  # launchctl and systemctl are run where they are there
    assert not imported_by("status") & SLOW


def test_version(mlxctl: Run) -> None:
    assert mlxctl("--version").stdout.startswith("mlxctl ")
    found = json.loads(mlxctl("version", "--json").stdout)
    assert found == {"mlxctl": __version__, "mlxd": None, "pid": None}


@pytest.mark.parametrize("arguments", [["nonsense"], ["use"], ["status", "--nonsense"]])
def test_invalid_usage_is_2(mlxctl: Run, arguments: list[str]) -> None:
    done = mlxctl(*arguments)
    assert done.returncode == 2
    assert "Usage: mlxctl" in done.stderr


@pytest.mark.parametrize("arguments", [["list"], ["use", "x"], ["run", "hi"], ["stop"]])
def test_not_running_is_3_and_one_line(mlxctl: Run, arguments: list[str]) -> None:
    done = mlxctl(*arguments)
    assert done.returncode == 3
    assert done.stderr.startswith("mlxctl: mlxd is not running")
    assert done.stderr.count("\n") == 1


def test_a_mistake_in_the_configuration_is_1_and_one_line(mlxctl: Run) -> None:
    done = mlxctl("list", MLXD_SERVER__PORT="many")
    assert done.returncode == 1
    assert done.stderr.startswith("mlxctl: environment variable MLXD_SERVER__PORT")
    assert done.stderr.count("\n") == 1


def test_control_c_ends_quietly_with_130_and_closes_the_connection(daemon: FakeDaemon) -> None:
    stream = daemon.streams(chunk("one"), *[chunk("x" * 60_000)] * 200, waits=True)
    with subprocess.Popen(
        command("run", "hi"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.read(3) == b"one"
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == -signal.SIGINT
        assert process.stderr.read().strip() == b""
    stream.go_on.set()
    assert daemon.gone.wait(DEADLINE)


def test_control_c_while_modules_are_loaded_ends_quietly(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import time; print(flush=True); time.sleep(60)")
    with subprocess.Popen(
        command("status"),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == -signal.SIGINT
        assert process.stderr.read() == b""


def test_a_closed_pipe_ends_quietly(daemon: FakeDaemon) -> None:
    stream = daemon.streams(chunk("one"), *[chunk("x" * 60_000)] * 200, waits=True)
    with subprocess.Popen(
        command("run", "hi"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.read(3) == b"one"
        process.stdout.close()
        stream.go_on.set()
        assert process.wait(DEADLINE) != 0
        assert process.stderr.read() == b""
    assert daemon.gone.wait(DEADLINE)


@pytest.mark.parametrize("arguments", [["status"], ["logs"], ["run", "hi"], ["chat"]])
@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_accepted(
    daemon: FakeDaemon, home: Path, arguments: list[str], closed: str
) -> None:
    daemon.answers(("GET", "/control/v1/status"), {"running": True, **NOWHERE})
    daemon.streams(chunk("one"), b"data: [DONE]\n\n")
    (home / "logs").mkdir()
    (home / "logs" / "mlxd.log").write_text("a line\n")
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *command(*arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert (done.returncode, done.stderr.strip()) == (0, b"")


def test_what_the_terminal_cannot_show_is_replaced(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.streams(chunk("caf\u00e9"), b"data: [DONE]\n\n")
    done = mlxctl("run", "hi", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "caf?\n")


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize(
    "arguments", [["--help"], ["status"], ["status", "--json"], ["config", "show"], ["run", "hi"]]
)
def test_a_full_disk_is_one_line(daemon: FakeDaemon, arguments: list[str]) -> None:
    daemon.streams(chunk("one"), b"data: [DONE]\n\n")
    daemon.answers(("GET", "/control/v1/status"), {"running": True, **NOWHERE})
    with FULL.open("w") as full:
        done = subprocess.run(
            command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert (done.returncode, done.stderr) == (
            1,
            "mlxctl: standard output: No space left on device\n",
        )
        mute = subprocess.run(command(*arguments), stdin=full, stdout=full, stderr=full)
        assert mute.returncode == 1


def test_a_path_that_is_too_long_is_one_line(home: Path, mlxctl: Run) -> None:
    done = mlxctl("config", "init", MLXD_HOME=f"/{'a' * 300}")
    assert done.returncode == 1
    assert done.stderr.endswith("/config.toml: File name too long\n")
    assert len(done.stderr.splitlines()) == 1
