"""The sockets the daemon listens on."""

import contextlib
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxd import listeners
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


def test_a_name_with_several_addresses_listens_on_one_port() -> None:
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(each) for each in listeners.tcp("localhost", 0)]
        assert len({listener.getsockname()[1] for listener in opened}) == 1


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
