import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from msgspec.structs import replace as with_fields

from mlxctl.doctor import ports
from mlxctl.doctor.situation import Situation
from mlxctl.service.manager import ServiceStatus
from mlxd.config import Config, Server
from tests.mlxctl.doctor.conftest import RUNNING, STOPPED, WELL, only

OURS = b"HTTP/1.1 200 OK\r\nX-Mlxd-Version: 0.1.0\r\n\r\n"
OTHERS = b"HTTP/1.1 200 OK\r\nServer: other\r\n\r\n"


@contextmanager
def answering(reply: bytes) -> Iterator[int]:
    """A server that gives that reply to one request; gives its port."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def on(situation: Situation, port: int) -> Situation:
    config = Config(server=Server(port=port))
    if situation.status is None:
        return replace(situation, config=config)
    status = with_fields(RUNNING, url=f"http://127.0.0.1:{port}")
    return replace(situation, config=config, status=status)


@pytest.mark.parametrize(
    ("situation", "reply", "state", "says"),
    [
        (WELL, OURS, "good", "the daemon's"),
        (WELL, OTHERS, "bad", "is answered by another program"),
        (STOPPED, OURS, "bad", "taken by mlxd"),
        (STOPPED, OTHERS, "bad", "taken by another program"),
        (STOPPED, b"", "bad", "taken by another program"),
    ],
)
def test_who_has_the_port(situation: Situation, reply: bytes, state: str, says: str) -> None:
    with answering(reply) as port:
        found = only(ports.port, on(situation, port))
    assert found[0] == state
    assert says in found[1]
    assert (found[2] is None) is (state == "good")


def test_nobody_has_the_port() -> None:
    assert only(ports.port, on(STOPPED, free_port()))[0] == "good"
    assert only(ports.port, on(WELL, free_port()))[0] == "bad"
    assert list(ports.port(on(STOPPED, 0))) == []


def test_a_port_that_was_configured_since_the_start() -> None:
    with answering(OURS) as port:
        changed = replace(on(WELL, port), config=Config(server=Server(port=1)))
        first, second = ports.port(changed)
    assert (first.state, first.mend) == ("warning", "mlxctl restart")
    assert second.state == "good"


def test_a_port_that_launchd_keeps_is_not_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as kept:
        kept.settimeout(0)
        port = kept.getsockname()[1]
        asleep = replace(
            on(STOPPED, port), asleep=True, service=ServiceStatus(manager="launchd", label="x")
        )
        assert only(ports.port, asleep)[:2] == ("good", f"127.0.0.1:{port} is kept by launchd")
        with pytest.raises(BlockingIOError):
            kept.accept()


@pytest.mark.skipif(shutil.which("lsof") is None, reason="needs lsof")
def test_who_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = ports.listening(listener.getsockname()[1])
    assert found is not None
    assert found.endswith(f"pid {os.getpid()}")
    assert ports.listening(free_port()) is None
