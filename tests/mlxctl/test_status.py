"""`mlxctl status`: text for people, JSON for programs, and what the daemon cannot say itself."""

import json
import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlxctl import client
from mlxctl.commands.status import status
from mlxctl.errors import NoAnswer
from mlxd import lock
from tests.mlxctl.conftest import Run
from tests.support.fake_daemon import FakeDaemon
from tests.support.statuses import FAILED, READY, RUNNING, STATUS

ADAPTED = {**READY, "adapter": "pirate"}


def test_text(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(STATUS, {**RUNNING, "models": [ADAPTED, {**FAILED, "cause": "no weights"}]})
    done = mlxctl("status")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "mlxd 0.1.0 is running (pid 4711, for 3 min 12 s)",
        "",
        "url            http://127.0.0.1:8080",
        "default model  tiny",
        "memory limit   18 GB",
        "socket         /h/run/mlxd.sock",
        "config         /h/config.toml",
        "settings       /h/settings.toml",
        "models         /h/models",
        "adapters       /h/adapters",
        "cache          /h/cache",
        "responses      /h/responses",
        "log            /h/logs/mlxd.log",
        "",
        "MODEL                     STATE   MEMORY  LIMIT  REQUESTS  TOKENS/S  UNTIL   PID",
        "tiny with adapter pirate  ready   98 MB   -      2         -         in use  4712",
        "b                         failed  -       -      0         -         -       -",
        "  no weights",
    ]


def test_a_default_model_that_is_missing_is_told(daemon: FakeDaemon, mlxctl: Run) -> None:
    fault = "model 'gone' does not exist; there is tiny"
    daemon.answers(STATUS, {**RUNNING, "default_model": None, "default_fault": fault})
    assert f"default model  none: {fault}" in mlxctl("status").stdout.splitlines()


def test_json_is_what_the_daemon_says(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(STATUS, {**RUNNING, "models": [ADAPTED]})
    shown = json.loads(mlxctl("status", "--json").stdout)
    (model,) = shown.pop("models")
    assert shown.items() >= {key: RUNNING[key] for key in RUNNING if key != "models"}.items()
    assert model.items() >= ADAPTED.items()


def test_a_stopped_daemon_has_places_and_status_3(home: Path, mlxctl: Run) -> None:
    text = mlxctl("status")
    assert text.returncode == 3
    assert text.stdout.startswith("mlxd is not running; start it with: mlxctl start\n")
    assert str(home / "config.toml") in text.stdout

    done = mlxctl("status", "--json")
    assert done.returncode == 3
    found = json.loads(done.stdout)
    assert found["running"] is False
    assert found["pid"] is None
    assert found["socket"] == str(home / "run" / "mlxd.sock")
    assert found["log"] == str(home / "logs" / "mlxd.log")


def test_who_listens_without_a_daemon_is_not_asked(listener: FakeDaemon, mlxctl: Run) -> None:
    listener.answers(STATUS, RUNNING)
    assert mlxctl("status").stdout.startswith("mlxd is not running")
    # A socket that is named may be that of another home.
    named = mlxctl("status", MLXD_SERVER__SOCKET=str(listener.socket))
    assert named.stdout.startswith("mlxd 0.1.0 is running")


def test_the_socket_is_where_the_configuration_says(home: Path, mlxctl: Run) -> None:
    (home / "config.toml").write_text('server.socket = "elsewhere.sock"')
    assert str(home / "elsewhere.sock") in mlxctl("status").stdout


def test_a_daemon_that_holds_the_home_but_does_not_listen(home: Path, mlxctl: Run) -> None:
    with lock.hold(home / "run" / "mlxd.lock"):
        done = mlxctl("status")
    assert done.returncode == 1
    assert "runs, but does not answer on" in done.stderr
    assert "mlxctl: mlxd (pid " in done.stderr


def test_a_daemon_that_listens_but_is_mute(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_ANSWER_SECONDS", 0.05)
    with lock.hold(home / "run" / "mlxd.lock"), socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(home / "run" / "mlxd.sock"))
        mute.listen()
        result = CliRunner().invoke(status)
    assert isinstance(result.exception, NoAnswer)
    assert result.exception.message.endswith(f"; its pid is {os.getpid()}")
