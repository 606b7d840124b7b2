"""The sockets the daemon listens on."""

import contextlib
import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlxd import listeners
from mlxd.activation import Activated
from mlxd.addresses import loopbacks
from mlxd.config import Config, ServerConfig
from mlxd.errors import StartupError


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        yield Path(folder)


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    return True


def test_port_0_takes_a_free_port() -> None:
    (listener,) = listeners.tcp("127.0.0.1", 0)
    with listener:
        host, port = listener.getsockname()
        with socket.create_connection((host, port)):
            pass


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def listen(opened: contextlib.ExitStack, host: str, port: int) -> list[str]:
    """Return the addresses that are listened on, which are closed with the test."""
    found = [opened.enter_context(each) for each in listeners.tcp(host, port)]
    return [each.getsockname()[0] for each in found]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


needs_ipv6 = pytest.mark.skipif("::1" not in loopbacks(), reason="there is no ::1")


@needs_ipv6
def test_localhost_is_both_loopbacks_with_one_port(opened: contextlib.ExitStack) -> None:
    found = [opened.enter_context(each) for each in listeners.tcp("LocalHost", 0)]
    (four, port), (six, other, *_) = (each.getsockname() for each in found)
    assert (four, six, port) == ("127.0.0.1", "::1", other)
    for host in (four, six):
        with socket.create_connection((host, port)):
            pass


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
def test_localhost_without_a_second_loopback(
    opened: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As in a container without IPv6, docker/for-linux#1374."""
    create = socket.create_server

    def only_four(where: tuple[str, int], **options: Any) -> socket.socket:
        if ":" in where[0]:
            raise OSError(number, os.strerror(number))
        return create(where, **options)

    monkeypatch.setattr(socket, "create_server", only_four)
    assert listen(opened, "localhost", 0) == ["127.0.0.1"]
    with pytest.raises(StartupError, match=r"\[::1\]:1 cannot be used"):
        listeners.tcp("::1", 1)


@needs_ipv6
def test_another_program_on_the_second_loopback_does_not_stop_the_start(
    opened: contextlib.ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    opened.enter_context(socket.create_server(("::1", port), family=socket.AF_INET6))
    assert listen(opened, "localhost", port) == ["127.0.0.1"]
    assert f"[::1]:{port} is in use" in caplog.text


def test_another_program_on_the_first_loopback_does(opened: contextlib.ExitStack) -> None:
    port = free_port()
    opened.enter_context(socket.create_server(("127.0.0.1", port)))
    with pytest.raises(StartupError, match=rf"127.0.0.1:{port} is in use"):
        listeners.tcp("localhost", port)


def test_a_port_in_use_is_named_with_a_way_out() -> None:
    (first,) = listeners.tcp("127.0.0.1", 0)
    with first:
        port = first.getsockname()[1]
        with pytest.raises(StartupError, match=rf"127.0.0.1:{port} is in use.*server.port"):
            listeners.tcp("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("203.0.113.7", "no such address"),
        ("no-such-host.invalid", "cannot be resolved"),
        ("a..b", "cannot be resolved"),
    ],
)
def test_a_host_that_is_not_ours_is_named(host: str, message: str) -> None:
    with pytest.raises(StartupError, match=message):
        listeners.tcp(host, 0)


def test_the_unix_socket_is_for_its_owner_only(short_tmp: Path) -> None:
    path = short_tmp / "run" / "mlxd.sock"
    with listeners.unix(path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert connects(path)


def test_the_socket_of_a_dead_daemon_is_replaced(short_tmp: Path) -> None:
    path = short_tmp / "mlxd.sock"
    listeners.unix(path).close()
    assert path.is_socket()
    with listeners.unix(path):
        assert connects(path)


def test_the_socket_of_a_living_process_is_left_alone(short_tmp: Path) -> None:
    path = short_tmp / "mlxd.sock"
    with listeners.unix(path):
        with pytest.raises(StartupError, match="another process listens"):
            listeners.unix(path)
        assert connects(path)


def test_a_file_that_is_not_a_socket_is_not_overwritten(short_tmp: Path) -> None:
    path = short_tmp / "mlxd.sock"
    path.write_text("precious")
    with pytest.raises(StartupError, match="is not a socket: move it away"):
        listeners.unix(path)
    assert path.read_text() == "precious"
    link = short_tmp / "link"
    link.symlink_to(path)
    with pytest.raises(StartupError, match="is not a socket"):
        listeners.unix(link)
    assert link.is_symlink()


def test_a_path_too_long_for_a_socket_is_one_clear_line(short_tmp: Path) -> None:
    with pytest.raises(StartupError, match=r"cannot be made.*too long"):
        listeners.unix(short_tmp / ("x" * 200))


def opened_with_ollama(folder: Path) -> contextlib.AbstractContextManager[listeners.Listeners]:
    server = ServerConfig(host="127.0.0.1", port=0, socket=str(folder / "s"), ollama=True)
    return listeners.opened(Config(server=server), Activated())


def test_ollamas_port_is_listened_on_too(short_tmp: Path, monkeypatch: Any) -> None:
    port = free_port()
    monkeypatch.setattr(listeners, "_OLLAMA_PORT", port)
    with opened_with_ollama(short_tmp) as sockets:
        assert [each.getsockname()[1] for each in sockets.tcp][1:] == [port]
        assert not sockets.url.endswith(f":{port}")


def test_where_ollama_is_already_a_warning_says_so(
    short_tmp: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(listeners, "_OLLAMA_PORT", port)
        with opened_with_ollama(short_tmp) as sockets:
            assert len(sockets.tcp) == 1
    assert f"127.0.0.1:{port} is in use, probably by Ollama itself" in caplog.text
