import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from msgspec.structs import replace as with_fields

from mlxctl.doctor import ports
from mlxctl.doctor.facts import Facts
from mlxd.config import Config, ServerConfig
from tests.mlxctl.doctor.conftest import ASLEEP, LAUNCHD, RUNNING, STOPPED, WELL, only

needs_lsof = pytest.mark.skipif(not shutil.which("lsof"), reason="needs lsof")

# `lsof -nP +c0 -iTCP:8080 -sTCP:LISTEN -Fpcn` on a Mac.
PRINTED = (
    "p501\ncnode\nf21\nn[::1]:8080\np812\nccom.docker.backend\nf77\nn*:8080\nn127.0.0.1:8080\n"
)
PROXY = {"http_proxy": "http://proxy:3128"}


@contextmanager
def listening() -> Iterator[int]:
    """Listen on a free port; yield it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def on(facts: Facts, port: int) -> Facts:
    config = Config(server=ServerConfig(port=port))
    if facts.status is None:
        return replace(facts, config=config)
    status = with_fields(RUNNING, url=f"http://127.0.0.1:{port}")
    return replace(facts, config=config, status=status, pid=os.getpid())


def test_the_daemon_has_its_port() -> None:
    with listening() as port:
        well = ("ok", f"the daemon listens on 127.0.0.1:{port}", None)
        assert only(ports.port, on(WELL, port)) == well


@needs_lsof
@pytest.mark.parametrize(
    ("facts", "effect"),
    [(WELL, "not by the daemon"), (STOPPED, "so mlxd cannot start")],
    ids=["running", "stopped"],
)
def test_another_program_has_the_port(facts: Facts, effect: str) -> None:
    with another_program("127.0.0.1") as (other, port):
        state, message, fix = only(ports.port, on(facts, port))
    assert state == "error"
    assert message.startswith(f"127.0.0.1:{port} is used by ")
    assert message.endswith(f" (pid {other.pid}), {effect}")
    assert fix == f"ps -p {other.pid}  # stop it, or set server.port"


def test_a_program_that_has_the_port_may_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "listeners", lambda port: [])  # root's are
    with listening() as port:
        state, message, fix = only(ports.port, on(STOPPED, port))
    assert state == "error"
    assert message == f"mlxd cannot listen on 127.0.0.1:{port}: Address already in use"
    assert fix.startswith("sudo lsof ")


def test_a_port_that_is_free() -> None:
    port = free_port()
    free = ("ok", f"127.0.0.1:{port} is free", None)
    assert only(ports.port, on(STOPPED, port)) == free
    assert list(ports.port(on(STOPPED, 0))) == []


def test_a_daemon_that_does_not_answer_is_for_another_check() -> None:
    assert list(ports.port(replace(on(STOPPED, free_port()), pid=4711))) == []


def test_a_port_that_was_configured_since_the_start() -> None:
    with listening() as port:
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
    with listening() as port, another_program("::1", port) as (other, _):
        well, twice = ports.port(on(WELL, port))
    assert well.state == "ok"
    assert twice.state == "warning"
    assert f"(pid {other.pid}) has [::1]:{port}" in twice.message


def test_a_program_of_several_processes_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = [
        ports.Listener(pid, "python", f"{host}:8080") for pid in (7, 8) for host in ("[::1]", "*")
    ]
    monkeypatch.setattr(ports, "listeners", lambda port: workers)
    _, other = ports.port(on(WELL, 8080))
    holds = "python (pid 7), and 1 more, has [::1]:8080 and *:8080"
    assert other.message.startswith(holds)


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
def test_the_program_on_the_port_is_found_by_lsof() -> None:
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
        (PROXY | {"NO_PROXY": "localhost, 127.0.0.1"}, None),
        (PROXY | {"no_proxy": "*"}, None),
        (PROXY | {"no_proxy": "corp", "NO_PROXY": "localhost,127.0.0.1"}, "warning"),
        ({}, None),
    ],
)
def test_proxies(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], state: str | None
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert [finding.state for finding in ports.proxy(WELL)] == ([state] if state else [])
