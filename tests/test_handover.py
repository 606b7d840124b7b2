"""The sockets of a daemon that ends, on their way to the next one."""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mlxctl.service import handover as receiving
from mlxd import handover, listeners
from mlxd.activation import Activated
from mlxd.control_api import SOCKETS_VARIABLE, HandoverReply
from mlxd.errors import Draining, InvalidRequest, StartupError
from mlxd.handover import Handed, Handover

LAUNCH = handover.launch(["--model", "caf\udce9"], {"MLXD_LOG__LEVEL": "debug", "EDITOR": "ed"})


class GivingDaemon:
    """What `mlxctl restart` sees of a daemon."""

    def __init__(self, folder: Path, giving: Handover) -> None:
        self.socket_file = folder / "mlxd.sock"
        self._giving = giving

    def hand_over(self, receiver: str) -> HandoverReply:
        return self._giving.give(receiver)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="mlxd") as made:
        yield Path(made)


def announced(sockets: Mapping[int, str]) -> dict[str, str]:
    """Give the environment of the next daemon, with descriptors of its own."""
    kinds = (f"{os.dup(descriptor)}:{kind}" for descriptor, kind in sockets.items())
    return {SOCKETS_VARIABLE: ",".join(kinds)}


def test_who_connects_between_two_daemons_reaches_the_second(folder: Path) -> None:
    stopped: list[str] = []
    with contextlib.ExitStack() as stack:
        (tcp,) = listeners.tcp("127.0.0.1", 0)
        local = listeners.unix(folder / "mlxd.sock")
        address = tcp.getsockname()
        giving = Handover(Handed(Activated([tcp]), [local]), LAUNCH, lambda: stopped.append("so"))
        with receiving.received(GivingDaemon(folder, giving)) as left:
            assert list(left.sockets.values()) == ["given", "own"]
            assert stopped == ["so"]
            tcp.close()
            local.close()
            client = stack.enter_context(socket.create_connection(address))
            environ = announced(left.sockets)
        handed = handover.take(environ)
        assert environ == {}
        second = stack.enter_context(handed.given.tcp[0])
        assert stack.enter_context(handed.own[0]).getsockname() == str(folder / "mlxd.sock")
        accepted = stack.enter_context(second.accept()[0])
        assert accepted.getpeername() == client.getsockname()
    assert list(folder.glob("*")) == [folder / "mlxd.sock"]


def test_a_daemon_that_cannot_give_its_sockets_goes_on(folder: Path) -> None:
    stopped: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        giving = Handover(Handed(own=[listener]), LAUNCH, lambda: stopped.append("so"))
        with pytest.raises(InvalidRequest, match="No such file"):
            giving.give(str(folder / "nobody"))
        assert not giving.done
    assert stopped == []


def test_sockets_are_given_once(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        giving = Handover(Handed(own=[listener]), LAUNCH, lambda: None)
        with receiving.received(GivingDaemon(folder, giving)) as left:
            assert len(left.sockets) == 1
        with pytest.raises(Draining):
            giving.give(str(folder / "nobody"))


def test_a_daemon_leaves_what_it_was_started_with(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        giving = Handover(Handed(own=[listener]), LAUNCH, lambda: None)
        with receiving.received(GivingDaemon(folder, giving)) as left:
            assert left.launch.arguments == [b"--model", b"caf\xe9"]
            assert left.launch.environment == {"MLXD_LOG__LEVEL": b"debug"}
            assert left.launch.folder == os.getcwdb()


@pytest.mark.parametrize("value", ["many", "9999:own"])
def test_what_is_no_socket_is_named(value: str) -> None:
    with pytest.raises(StartupError, match=f"MLXD_SOCKETS: {value.partition(':')[0]} is no socket"):
        handover.take({SOCKETS_VARIABLE: value})


def test_a_socket_that_nobody_listens_on_is_refused() -> None:
    with socket.socket() as idle, pytest.raises(StartupError, match="nobody listens"):
        handover.take({SOCKETS_VARIABLE: f"{os.dup(idle.fileno())}:own"})
