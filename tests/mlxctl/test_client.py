"""Every failure becomes a line of advice."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlxctl import client
from mlxctl.client import HEALTH, Client, StreamEvent
from mlxctl.errors import CommandFailed, NoAnswer, NotRunning, RefusedByDaemon
from mlxd import __version__
from mlxd.control_api import (
    LIST_MODELS,
    REMOVE_MODEL,
    STATUS,
    USE,
    Progress,
    UseRequest,
)
from tests.mlxctl.conftest import Run
from tests.support.fake_daemon import FakeDaemon, event

MODELS = (LIST_MODELS.method, LIST_MODELS.path)
USING = (USE.method, USE.path)


@pytest.fixture
def file(home: Path) -> Path:
    return home / "s"


def ignore(_progress: Progress) -> None:
    pass


def use(socket_file: Path, model: str = "tiny") -> str:
    """Make a model the default and return its id."""
    request = UseRequest(model=model, wait=True, stream=True)
    return Client(socket_file).follow(USE, request, ignore).model


def test_types_are_decoded_and_encoded(daemon: FakeDaemon) -> None:
    done = {"done": {"model": "tiny", "state": "ready", "new_in_a_later_version": 1}}
    daemon.streams(event(done), route=USING)
    assert use(daemon.socket, "alias") == "tiny"
    assert daemon.bodies == [{"model": "alias", "wait": True, "stream": True}]


def test_parameters_go_into_the_path_and_flags_into_the_query(daemon: FakeDaemon) -> None:
    removal = {"id": "owner/a ?", "path": "/m", "size_bytes": 1}
    path = "/control/v1/models/owner/a%20%3F"
    for target in (path, f"{path}?dry_run=true"):
        daemon.answers(("DELETE", target), removal)
    Client(daemon.socket).call(REMOVE_MODEL, model="owner/a ?", dry_run=True)
    Client(daemon.socket).call(REMOVE_MODEL, model="owner/a ?", dry_run=False)
    assert daemon.deleted == [f"{path}?dry_run=true", path]


def test_a_followed_task_shows_its_progress(daemon: FakeDaemon) -> None:
    steps = [{"status": "loading", "model": "tiny", "fraction": part} for part in (0.0, 0.5)]
    events = [event({"progress": step}) for step in steps]
    daemon.streams(*events, event({"done": {"model": "tiny", "state": "ready"}}), route=USING)
    shown: list[float | None] = []
    request = UseRequest(model="tiny", stream=True)
    Client(daemon.socket).follow(USE, request, lambda each: shown.append(each.fraction))
    assert shown == [0.0, 0.5]


def test_a_followed_task_may_fail(daemon: FakeDaemon) -> None:
    daemon.streams(event({"error": {"message": "no weights"}}), route=USING)
    with pytest.raises(RefusedByDaemon, match="no weights"):
        use(daemon.socket)
    daemon.streams(b": nothing comes\n\n", route=USING)
    with pytest.raises(NoAnswer):
        use(daemon.socket)


def test_no_socket_is_not_running(file: Path) -> None:
    with pytest.raises(NotRunning, match="start it with: mlxctl start"):
        Client(file).call(STATUS)


def test_the_socket_of_a_dead_daemon_is_not_running(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(file))
    with pytest.raises(NotRunning):
        Client(file).call(STATUS)


def test_a_socket_path_that_is_too_long_is_an_error(file: Path) -> None:
    with pytest.raises(CommandFailed, match="too long"):
        Client(file / ("x" * 200)).call(STATUS)


def test_the_daemons_error_is_its_message(daemon: FakeDaemon) -> None:
    error = {"message": "model 'x' does not exist", "type": "t", "param": None, "code": None}
    daemon.answers(USING, {"error": error}, status=404)
    with pytest.raises(RefusedByDaemon, match=r"^model 'x' does not exist$"):
        use(daemon.socket, "x")


def test_a_daemon_that_cannot_generate_is_an_error(daemon: FakeDaemon) -> None:
    daemon.answers(("GET", "/health"), {"error": {"message": "the engine hangs"}}, status=503)
    with pytest.raises(RefusedByDaemon, match="the engine hangs"):
        Client(daemon.socket).call(HEALTH)


@pytest.mark.parametrize("status", [200, 500])
def test_the_answer_of_another_program_is_an_error(daemon: FakeDaemon, status: int) -> None:
    daemon.answers(MODELS, ["not", "ours"], status)
    with pytest.raises(NoAnswer, match=rf"the reply on {daemon.socket} is not what mlxctl"):
        Client(daemon.socket).call(LIST_MODELS)


@contextmanager
def program(file: Path, reply: bytes) -> Iterator[None]:
    """A program on the socket `file` that reads a little, sends `reply` and ends."""

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            connection.sendall(reply)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(file))
        listener.listen()
        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join()


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"SSH-2.0-thing\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfour",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfour",
    ],
)
def test_a_reply_that_is_incomplete_or_not_http_is_an_error(file: Path, reply: bytes) -> None:
    with program(file, reply), pytest.raises(NoAnswer, match=rf"{file}"):
        Client(file).call(STATUS)


def test_a_daemon_that_does_not_answer_in_time_is_an_error(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_ANSWER_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(file))
        mute.listen()
        with pytest.raises(NoAnswer, match=rf"does not answer on {file} \(waited 0.05 s\)"):
            Client(file).call(STATUS)


def test_a_daemon_of_another_version_prints_a_warning(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.version = "9.9.9"
    daemon.answers(MODELS, {"models": []})
    done = mlxctl("list", "--json")
    assert done.returncode == 0
    assert done.stderr == (
        f"mlxctl: mlxd 9.9.9 is running, but mlxctl is {__version__}; restart it: mlxctl restart\n"
    )
    daemon.version = __version__
    assert mlxctl("list").stderr == ""


def test_the_reply_to_a_body_that_was_refused_unread_is_read(file: Path) -> None:
    error = json.dumps({"error": {"message": "too large"}}).encode()
    head = b"HTTP/1.1 413 Too Large\r\nContent-Length: %d\r\n\r\n" % len(error)
    with program(file, head + error), pytest.raises(RefusedByDaemon, match="too large"):
        use(file, "x" * 10_000_000)


class Word(StreamEvent):
    text: str = ""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_stream_has_events_and_comments_up_to_its_end(daemon: FakeDaemon, end: str) -> None:
    lines = [": loading 41%", "", 'data: {"text": "a"}', "", "event: x", 'data:{"text": "b"}', ""]
    sent = "".join(line + end for line in [*lines, "data: [DONE]"]).encode()
    daemon.streams(sent[:20], sent[20:], route=USING)
    said: list[str] = []
    words = Client(daemon.socket).stream(USE.path, UseRequest(model="t"), Word, said.append)
    assert [word.text for word in words] == ["a", "b"]
    assert said == ["loading 41%"]


def test_an_event_comes_before_the_next_is_sent(daemon: FakeDaemon) -> None:
    stream = daemon.streams(b'data: {"text": "a"}\n', b"data: [DONE]\n", waits=True, route=USING)
    words = Client(daemon.socket).stream(USE.path, UseRequest(model="t"), Word)
    assert next(words).text == "a"
    stream.go_on.set()
    assert [*words] == []
