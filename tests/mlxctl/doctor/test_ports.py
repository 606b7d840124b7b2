import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from msgspec.structs import replace as with_fields

from mlxctl.doctor import ports
from mlxctl.doctor.facts import Facts
from mlxd.config import Config, ServerConfig
from tests.mlxctl.doctor.conftest import ASLEEP, LAUNCHD, MAC, RUNNING, STOPPED, WELL, only

needs_lsof = pytest.mark.skipif(not shutil.which("lsof"), reason="needs lsof")

OURS = b"HTTP/1.1 200 OK\r\nX-Mlxd-Version: 0.1.0\r\n\r\n"
OTHERS = b"HTTP/1.1 200 OK\r\nServer: other\r\n\r\n"
# `lsof -nP +c0 -iTCP:8080 -sTCP:LISTEN -Fpcn` on a Mac.
PRINTED = (
    "p501\ncnode\nf21\nn[::1]:8080\np812\nccom.docker.backend\nf77\nn*:8080\nn127.0.0.1:8080\n"
)
PROXY = {"http_proxy": "http://proxy:3128"}


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


def on(facts: Facts, port: int) -> Facts:
    config = Config(server=ServerConfig(port=port))
    if facts.status is None:
        return replace(facts, config=config)
    status = with_fields(RUNNING, url=f"http://127.0.0.1:{port}")
    return replace(facts, config=config, status=status, pid=os.getpid())


@needs_lsof
@pytest.mark.parametrize(
    ("facts", "reply", "state", "says"),
    [
        (WELL, OURS, "ok", "the daemon has "),
        (WELL, OTHERS, "error", "another program, not by the daemon"),
        (STOPPED, OURS, "error", "used by another mlxd (pid "),
        (STOPPED, OTHERS, "error", "(pid {own})"),
        (STOPPED, b"", "error", "(pid {own})"),
    ],
)
def test_who_has_the_port(facts: Facts, reply: bytes, state: str, says: str) -> None:
    with answering(reply) as port:
        found = only(ports.port, on(facts, port))
    assert found[0] == state
    assert says.format(own=os.getpid()) in found[1]
    assert (found[2] is None) is (state == "ok")


def test_a_port_that_is_free() -> None:
    assert only(ports.port, on(STOPPED, free_port()))[0] == "ok"
    assert only(ports.port, on(WELL, free_port()))[0] == "error"
    assert list(ports.port(on(STOPPED, 0))) == []


def test_a_port_that_was_configured_since_the_start() -> None:
    with answering(OURS) as port:
        changed = replace(on(WELL, port), config=Config(server=ServerConfig(port=1)))
        first, second = ports.port(changed)
    assert (first.state, first.fix) == ("warning", "mlxctl stop && mlxctl start")
    assert second.state == "ok"
    kept = replace(changed, service=LAUNCHD)  # launchd has the port, and goes by its plist
    assert next(ports.port(kept)).fix == "mlxctl install"


@contextmanager
def another_program(host: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a process that listens there and never answers; yield it and its port."""
    family = "AF_INET6" if ":" in host else "AF_INET"
    program = (
        "import socket, time\n"
        f"listener = socket.create_server(({host!r}, {port}), family=socket.{family})\n"
        "print(listener.getsockname()[1], flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@needs_lsof
def test_where_localhost_is_somebody_else() -> None:
    with answering(OURS) as port, another_program("::1", port) as (other, _):
        well, twice = ports.port(on(WELL, port))
    assert well.state == "ok"
    assert twice.state == "warning"
    assert f"(pid {other.pid}) has [::1]:{port}" in twice.message


def test_a_port_that_waits_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "listeners", lambda port: [])  # launchd's are root's to see
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        here = on(ASLEEP, port)
        assert only(ports.port, here)[:2] == ("ok", f"launchd listens on 127.0.0.1:{port}")
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


@needs_lsof
def test_a_port_that_waits_for_another_program() -> None:
    with another_program("127.0.0.1") as (other, port):
        state, message, fix = only(ports.port, on(ASLEEP, port))
    assert state == "error"
    assert f"(pid {other.pid}), not by launchd" in message
    assert fix.startswith(f"ps -p {other.pid} ")


def test_what_lsof_prints() -> None:
    assert list(ports.parse_lsof(PRINTED)) == [
        ports.Listener(501, "node", "[::1]:8080"),
        ports.Listener(812, "com.docker.backend", "*:8080"),
        ports.Listener(812, "com.docker.backend", "127.0.0.1:8080"),
    ]
    assert str(next(ports.parse_lsof(PRINTED))) == "node (pid 501)"
    assert list(ports.parse_lsof("")) == []


@needs_lsof
def test_who_listens_is_asked_for_real() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (found,) = ports.listeners(port)
    assert (found.pid, found.address) == (os.getpid(), f"127.0.0.1:{port}")
    assert ports.listeners(port) == []


def test_without_lsof_no_listener_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxctl.doctor.ports.shutil.which", lambda name: "/nowhere/lsof")
    assert ports.listeners(1) == []


@pytest.mark.parametrize(
    ("environ", "state"),
    [
        (PROXY, "warning"),
        ({"ALL_PROXY": "socks5://proxy"}, "warning"),
        (PROXY | {"NO_PROXY": "localhost"}, "warning"),
        (PROXY | {"NO_PROXY": "localhost, 127.0.0.1"}, "ok"),
        (PROXY | {"no_proxy": "*"}, "ok"),
        (PROXY | {"no_proxy": "corp", "NO_PROXY": "localhost,127.0.0.1"}, "warning"),
        ({}, None),
    ],
)
def test_proxies(environ: dict[str, str], state: str | None) -> None:
    found = [finding.state for finding in ports.proxy(replace(WELL, environ=environ))]
    assert found == ([state] if state else [])


def test_a_proxy_of_the_network_settings() -> None:
    through = replace(WELL, machine=replace(MAC, proxy="http://proxy:3128"))
    assert only(ports.proxy, through)[0] == "warning"
    excepted = replace(through, environ={"NO_PROXY": "localhost,127.0.0.1"})
    assert only(ports.proxy, excepted)[0] == "ok"
