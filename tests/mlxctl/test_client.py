"""Every failure becomes a line of advice."""

import json
import socket
import threading
from pathlib import Path

import pytest

from mlxctl import client
from mlxctl.client import Client
from mlxctl.errors import CommandFailed, NoAnswer, NotRunning, RefusedByDaemon
from mlxd.control_api import Progress
from tests.mlxctl.conftest import Run
from tests.support.fake_daemon import FakeDaemon, event

HEALTH = ("GET", "/health")
MODELS = ("GET", "/control/v1/models")
USE = ("POST", "/control/v1/use")


@pytest.fixture
def file(home: Path) -> Path:
    return home / "s"


def nothing(_progress: Progress) -> None:
    pass


def test_types_are_decoded_and_encoded(daemon: FakeDaemon) -> None:
    done = {"done": {"model": "tiny", "state": "ready", "new_in_a_later_version": 1}}
    daemon.streams(event(done), route=USE)
    assert Client(daemon.socket).use("alias", nothing, wait=True).model == "tiny"
    assert daemon.bodies == [{"model": "alias", "wait": True, "stream": True}]


def test_what_is_followed_shows_how_far_it_is(daemon: FakeDaemon) -> None:
    steps = [{"status": "loading", "model": "tiny", "fraction": part} for part in (0.0, 0.5)]
    events = [event({"progress": step}) for step in steps]
    daemon.streams(*events, event({"done": {"model": "tiny", "state": "ready"}}), route=USE)
    shown: list[float | None] = []
    Client(daemon.socket).use("tiny", lambda each: shown.append(each.fraction), wait=False)
    assert shown == [0.0, 0.5]


def test_what_is_followed_may_fail_on_the_way(daemon: FakeDaemon) -> None:
    daemon.streams(event({"error": {"message": "no weights"}}), route=USE)
    with pytest.raises(RefusedByDaemon, match="no weights"):
        Client(daemon.socket).use("tiny", nothing, wait=False)
    daemon.streams(b": nothing comes\n\n", route=USE)
    with pytest.raises(NoAnswer):
        Client(daemon.socket).use("tiny", nothing, wait=False)


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
        Client(daemon.socket).use("x", nothing, wait=False)


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
            Client(file).use("x" * 10_000_000, nothing, wait=False)
        thread.join()
