"""Sockets that a service manager keeps: the daemon starts with a connection, and goes when idle."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from mlxctl.client import Client
from mlxctl.commands.status import status, version
from mlxctl.errors import NoAnswer, NotRunning
from mlxd import activation
from mlxd.control_api import STATUS
from mlxd.errors import StartupError
from tests.fakes.socket_keeper import SocketKeeper
from tests.support.daemon_process import DEADLINE, wait_until

pytestmark = pytest.mark.slow

MLXD = [sys.executable, "-m", "mlxd"]
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="needs systemd-socket-activate"
)


@pytest.fixture
def home(tiny_model: Path) -> Iterator[Path]:
    """A home with the tiny model; its path is short enough for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder)
        (home / "models").mkdir()
        (home / "models" / "tiny").symlink_to(tiny_model)
        (home / "run").mkdir(mode=0o700)
        yield home


def environment(home: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "MLXD_HOME": str(home), "MLXD_SERVER__PORT": "1", **more}


@pytest.fixture
def begun() -> Iterator[list["subprocess.Popen[bytes]"]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait(DEADLINE)


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        yield listener


@pytest.fixture
def local(home: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "run" / "mlxd.sock"))
        listener.listen(2048)
        yield listener


def url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _answers(path: Path) -> bool:
    try:
        Client(path, patience=1).call(STATUS)
    except (NotRunning, NoAnswer):
        return False
    return True


def by_systemd(home: Path, *sockets: str, **environ: str) -> "subprocess.Popen[bytes]":
    """Run mlxd as a socket unit does; what is listened on exists when this returns."""
    command = ["systemd-socket-activate"]
    for each in sockets:
        command += ["-l", each]
    names = ":".join(("http", "local")[: len(sockets)])
    # It clears the environment but for what is named.
    environ = {"MLXD_HOME": str(home), "PATH": os.environ["PATH"], **environ}
    for name, value in environ.items():
        command += ["-E", f"{name}={value}"]
    process = subprocess.Popen(
        [*command, f"--fdname={names}", *MLXD], stderr=subprocess.PIPE, env=environment(home)
    )
    for _ in sockets:
        assert process.stderr is not None
        assert b"Listening on" in process.stderr.readline()
    return process


@needs_systemd
def test_the_first_connection_starts_it_and_idleness_ends_it(home: Path) -> None:
    port = free_port()
    for _ in range(2):  # it can be started again and again
        with by_systemd(home, f"127.0.0.1:{port}", MLXD_SERVER__IDLE_EXIT="0.2s") as process:
            asked = subprocess.run(
                ["curl", "-sf", f"http://127.0.0.1:{port}/health"], capture_output=True, check=True
            )
            assert json.loads(asked.stdout)["status"] == "ok"
            assert process.wait(DEADLINE) == 0
            assert b"no requests for 0.2 s (server.idle_exit)" in process.stderr.read()


@needs_systemd
def test_both_sockets_are_used_and_left_where_they_are(home: Path) -> None:
    port, path = free_port(), home / "run" / "given.sock"
    with by_systemd(home, f"127.0.0.1:{port}", str(path), MLXD_SERVER__IDLE_EXIT="0.2s") as process:
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url="http://localhost", timeout=60) as client:
            status = client.get("/control/v1/status").json()
        assert status["url"] == f"http://127.0.0.1:{port}"
        assert status["socket"] == str(path)
        assert httpx.get(f"{status['url']}/control/v1/status").status_code == 404
        wait_until(lambda: not _answers(path), "it has ended, though somebody looks on")
        assert process.wait(DEADLINE) == 0
        process.stderr.read()
    assert path.is_socket()


def test_a_request_while_an_idle_daemon_exits_is_answered_by_the_next(
    home: Path, tcp: socket.socket, begun: list["subprocess.Popen[bytes]"]
) -> None:
    keeper = SocketKeeper()
    keeper.keep("http", tcp)
    environ = environment(home, MLXD_SERVER__IDLE_EXIT="20ms")
    over = threading.Event()

    def start_whenever_asked() -> None:
        while not over.is_set():
            if keeper.asked(0.1):
                begun.append(keeper.spawn(MLXD, environ, stderr=subprocess.DEVNULL))
                begun[-1].wait(DEADLINE)

    starter = threading.Thread(target=start_whenever_asked)
    starter.start()
    try:
        for moment in range(30):  # from before its end until after it
            assert httpx.get(f"{url(tcp)}/v1/models", timeout=60).status_code == 200
            time.sleep(0.004 * moment)
    finally:
        over.set()
        starter.join()
    assert len(begun) > 2


def test_looking_at_a_daemon_that_has_gone_does_not_start_the_next(
    home: Path,
    tcp: socket.socket,
    local: socket.socket,
    begun: list["subprocess.Popen[bytes]"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keeper = SocketKeeper()
    keeper.keep("http", tcp)
    keeper.keep("local", local)
    monkeypatch.setenv("MLXD_HOME", str(home))
    daemon = keeper.spawn(MLXD, environment(home, MLXD_SERVER__IDLE_EXIT="50ms"))
    begun.append(daemon)
    assert daemon.wait(DEADLINE) == 0
    look = CliRunner()
    assert look.invoke(status).exit_code == NotRunning.exit_status
    assert look.invoke(version).exit_code == 0
    assert not keeper.asked(0)


def test_what_is_loaded_keeps_it(
    home: Path, tcp: socket.socket, begun: list["subprocess.Popen[bytes]"]
) -> None:
    keeper = SocketKeeper()
    keeper.keep("http", tcp)
    environ = {"MLXD_SERVER__IDLE_EXIT": "0.1s", "MLXD_MODELS__KEEP_ALIVE": "1s"}
    daemon = keeper.spawn(MLXD, environment(home, **environ))
    begun.append(daemon)
    body = {"prompt": "a", "max_tokens": 1}
    answer = httpx.post(f"{url(tcp)}/v1/completions", json=body, timeout=60)
    assert answer.status_code == 200
    with pytest.raises(subprocess.TimeoutExpired):
        daemon.wait(0.5)
    assert daemon.wait(DEADLINE) == 0


def test_a_client_that_keeps_its_connection_is_told_to_leave_it(
    home: Path, tcp: socket.socket, begun: list["subprocess.Popen[bytes]"]
) -> None:
    keeper = SocketKeeper()
    keeper.keep("http", tcp)
    daemon = keeper.spawn(MLXD, environment(home))
    begun.append(daemon)
    with httpx.Client(base_url=url(tcp), timeout=60) as client:
        client.get("/health").raise_for_status()
        body = {"prompt": "a", "max_tokens": 300, "stream": True}
        with client.stream("POST", "/v1/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            daemon.send_signal(signal.SIGTERM)
            assert list(lines)[-2] == "data: [DONE]"
        assert daemon.wait(DEADLINE) == 0
        begun.append(keeper.spawn(MLXD, environment(home)))
        client.get("/health").raise_for_status()


@pytest.fixture(scope="module")
def launchd_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands in for launch_activate_socket(3), on a system that can compile and preload it."""
    if sys.platform == "darwin" or shutil.which("cc") is None:
        pytest.skip("needs cc and LD_PRELOAD")
    built = tmp_path_factory.mktemp("launchd") / "launchd.so"
    source = Path(__file__).parent / "fakes" / "launch_activate_socket.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", built, source], check=True)
    return built


def test_launchds_sockets_are_asked_for_by_name(
    home: Path,
    launchd_library: Path,
    tcp: socket.socket,
    local: socket.socket,
    begun: list["subprocess.Popen[bytes]"],
) -> None:
    environ = environment(
        home,
        LD_PRELOAD=str(launchd_library),
        FAKE_LAUNCHD_HTTP=str(tcp.fileno()),
        FAKE_LAUNCHD_LOCAL=str(local.fileno()),
    )
    daemon = subprocess.Popen(MLXD, env=environ, pass_fds=(tcp.fileno(), local.fileno()))
    begun.append(daemon)
    assert httpx.get(f"{url(tcp)}/health", timeout=60).status_code == 200
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(DEADLINE) == 0
    assert (home / "run" / "mlxd.sock").is_socket()


def test_without_launchd_its_function_hands_out_nothing(
    home: Path, launchd_library: Path, begun: list["subprocess.Popen[bytes]"]
) -> None:
    port = free_port()
    environ = environment(home, LD_PRELOAD=str(launchd_library), MLXD_SERVER__PORT=str(port))
    begun.append(subprocess.Popen(MLXD, env=environ))

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
        return False

    wait_until(answers, "the daemon has bound its own socket")


@pytest.mark.parametrize(
    ("service", "status"),
    [
        ("", 78),
        ("com.apple.Terminal", 78),
        ("dev.mlxd", 0),
        ("dev.mlxd.1a2b3c4d", 0),
        ("homebrew.mxcl.mlxd", 0),
    ],
)
def test_launchd_does_not_start_a_broken_configuration_again(
    home: Path, service: str, status: int
) -> None:
    environ = environment(home, MLXD_SERVER__PORT="many", XPC_SERVICE_NAME=service)
    done = subprocess.run(MLXD, env=environ, capture_output=True, text=True)
    assert done.returncode == status
    assert done.stderr.startswith("mlxd: environment variable MLXD_SERVER__PORT")


def test_a_broken_configuration_disconnects_clients_that_wait(
    home: Path, tcp: socket.socket
) -> None:
    keeper = SocketKeeper()
    keeper.keep("http", tcp)
    with socket.create_connection(tcp.getsockname()) as client:
        assert keeper.asked(DEADLINE)
        broken = environment(home, MLXD_SERVER__PORT="many")
        assert keeper.spawn(MLXD, broken, stderr=subprocess.DEVNULL).wait(DEADLINE) == 78
        assert client.recv(1) == b""
    assert not keeper.asked(0)


def test_a_socket_for_other_machines_needs_a_key(home: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        keeper = SocketKeeper()
        keeper.keep("http", everywhere)
        daemon = keeper.spawn(MLXD, environment(home), stderr=subprocess.PIPE)
        _, said = daemon.communicate(timeout=DEADLINE)
    assert daemon.returncode == 78
    assert b"0.0.0.0" in said
    assert b"server.api_key" in said


def test_what_is_meant_for_another_process_is_left_alone() -> None:
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "http"}
    assert not activation.take(environ)
    assert environ == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [("http", "must be 'local'"), ("local", "must be 'http'")],
)
def test_a_socket_of_the_wrong_kind_is_named(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = socket.AF_UNIX if name == "http" else socket.AF_INET
    with socket.socket(family) as listener:
        if family is socket.AF_INET:
            listener.bind(("127.0.0.1", 0))
        else:
            monkeypatch.chdir(tmp_path)
            listener.bind("s")
        listener.listen()
        monkeypatch.setattr(activation, "_FIRST_FD", os.dup(listener.fileno()))
        environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": name}
        with pytest.raises(StartupError, match=message):
            activation.take(environ)
