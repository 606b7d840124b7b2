"""Every failure becomes a line of advice."""

import json
import socket
import threading
from pathlib import Path

import pytest

from mlxctl import client
from mlxctl.client import Client
from mlxctl.errors import CommandFailed, NoAnswer, NotRunning, RefusedByDaemon
from tests.mlxctl.conftest import Run
from tests.mlxctl.fake_daemon import FakeDaemon

HEALTH = ("GET", "/health")
MODELS = ("GET", "/control/v1/models")
USE = ("POST", "/control/v1/use")


@pytest.fixture
def file(home: Path) -> Path:
    return home / "s"


def test_types_are_decoded_and_encoded(daemon: FakeDaemon) -> None:
    daemon.answers(USE, {"model": "tiny", "state": "loading", "new_in_a_later_version": 1})
    assert Client(daemon.socket).use("alias").model == "tiny"
    assert daemon.bodies == [{"model": "alias"}]


def test_no_socket_is_not_running(file: Path) -> None:
    with pytest.raises(NotRunning, match="start it with: mlxctl start"):
        Client(file).status()


def test_a_dead_daemons_socket_is_not_running(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(file))
    with pytest.raises(NotRunning):
        Client(file).status()


def test_a_path_that_is_too_long_is_told(file: Path) -> None:
    with pytest.raises(CommandFailed, match="too long"):
        Client(file / ("x" * 200)).status()


def test_the_daemons_error_is_its_message(daemon: FakeDaemon) -> None:
    error = {"message": "model 'x' does not exist", "type": "t", "param": None, "code": None}
    daemon.answers(USE, {"error": error}, status=404)
    with pytest.raises(RefusedByDaemon, match=r"^model 'x' does not exist$"):
        Client(daemon.socket).use("x")


def test_health_that_is_bad_is_an_error(daemon: FakeDaemon) -> None:
    daemon.answers(HEALTH, {"error": {"message": "the engine hangs"}}, status=503)
    with pytest.raises(RefusedByDaemon, match="the engine hangs"):
        Client(daemon.socket).health()


@pytest.mark.parametrize("status", [200, 500])
def test_somebody_elses_answer_is_told(daemon: FakeDaemon, status: int) -> None:
    daemon.answers(MODELS, ["not", "ours"], status)
    with pytest.raises(NoAnswer, match="is not mlxd"):
        Client(daemon.socket).models()


def test_silence_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_ANSWER_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(file))
        mute.listen()
        with pytest.raises(NoAnswer, match=rf"does not answer on {file} \(waited 0.05 s\)"):
            Client(file).status()


def test_a_daemon_of_another_version_is_remarked_upon(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.version = "9.9.9"
    daemon.answers(MODELS, {"models": []})
    done = mlxctl("list", "--json")
    assert done.returncode == 0
    assert done.stderr.startswith("mlxctl: mlxd 9.9.9 is running, mlxctl is ")
    assert done.stderr.endswith(": mlxctl restart\n")
    daemon.version = client.__version__
    assert mlxctl("list").stderr == ""


def test_a_body_that_is_refused_unread_is_answered_all_the_same(file: Path) -> None:
    error = json.dumps({"error": {"message": "too large"}}).encode()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(file))
        listener.listen()

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                head = b"HTTP/1.1 413 Too Large\r\nContent-Length: %d\r\n\r\n" % len(error)
                connection.sendall(head + error)

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(RefusedByDaemon, match="too large"):
            Client(file).use("x" * 10_000_000)
        thread.join()
