"""The life of the daemon, on the tiny random model: start, serve, faults, drain, exit."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mlxd import config, listeners
from mlxd.activation import Activated
from mlxd.daemon import Daemon, until_idle
from mlxd.errors import ServingFailed
from mlxd.http.server import HttpServer
from tests.support.daemon_process import DaemonProcess, run_mlxd, running_daemon, wait_until

pytestmark = pytest.mark.slow

FORBIDDEN = ("mlx", "mlx_lm", "transformers", "huggingface_hub")


@pytest.fixture
def empty_home() -> Iterator[Path]:
    """A home without models; its path is short enough for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        yield Path(folder)


@pytest.fixture
def home(empty_home: Path, tiny_model: Path) -> Path:
    """A home with the tiny model."""
    (empty_home / "models").mkdir()
    (empty_home / "models" / "tiny").symlink_to(tiny_model)
    return empty_home


@pytest.fixture
def daemon(home: Path) -> Iterator[DaemonProcess]:
    with running_daemon(home) as daemon:
        yield daemon


def chat(**fields: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, **fields}


def warm(daemon: DaemonProcess) -> None:
    """Load the model, so that the next stream begins with its answer."""
    daemon.local.post("/v1/chat/completions", json=chat()).raise_for_status()


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def endless() -> dict[str, object]:
    return chat(max_tokens=4000, stream=True)


def engine_of(daemon: DaemonProcess) -> dict:
    return daemon.status()["models"][0]


def test_tcp_and_the_unix_socket_answer(daemon: DaemonProcess) -> None:
    local = daemon.local.post("/v1/chat/completions", json=chat())
    remote = httpx.post(f"{daemon.url}/v1/chat/completions", json=chat())
    assert local.status_code == remote.status_code == 200
    assert local.json()["choices"] == remote.json()["choices"]
    assert daemon.status()["models"][0]["state"] == "ready"


def test_control_is_not_on_tcp(daemon: DaemonProcess) -> None:
    assert httpx.get(f"{daemon.url}/control/v1/status").status_code == 404


def test_without_a_model_it_starts_and_tells_what_to_do(empty_home: Path) -> None:
    with running_daemon(empty_home) as daemon:
        assert httpx.get(f"{daemon.url}/health").json()["status"] == "ok"
        assert httpx.get(f"{daemon.url}/v1/models").json() == {"object": "list", "data": []}
        reply = httpx.post(f"{daemon.url}/v1/chat/completions", json=chat())
        assert reply.status_code == 404
        assert "mlxctl import" in reply.json()["error"]["message"]


def test_a_prompt_longer_than_the_context_is_a_400(daemon: DaemonProcess) -> None:
    reply = daemon.local.post("/v1/completions", json={"prompt": "x" * 5000})
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "prompt")
    stream = daemon.local.post("/v1/completions", json={"prompt": "x" * 5000, "stream": True})
    assert stream.status_code == 400


def test_a_client_that_goes_away_frees_its_sequence(daemon: DaemonProcess) -> None:
    warm(daemon)
    with daemon.local.stream("POST", "/v1/chat/completions", json=endless()) as reply:
        lines = reply.iter_lines()
        next(lines)
        assert engine_of(daemon)["requests"] == 1
    wait_until(lambda: engine_of(daemon)["requests"] == 0, "the stream's sequence is freed")

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(daemon.socket))
        body = json.dumps({**endless(), "stream": False}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        wait_until(lambda: engine_of(daemon)["requests"] == 1, "the request runs")
    wait_until(lambda: engine_of(daemon)["requests"] == 0, "the request's sequence is freed")


def test_a_killed_engine_fails_begun_streams_and_the_next_request_is_served(
    daemon: DaemonProcess,
) -> None:
    warm(daemon)
    pid = engine_of(daemon)["pid"]
    warm(daemon)
    with daemon.local.stream("POST", "/v1/chat/completions", json=endless()) as reply:
        lines = reply.iter_lines()
        next(lines)
        os.kill(pid, signal.SIGKILL)
        data = [line for line in lines if line.startswith("data: ")]
    error = json.loads(data[-1].removeprefix("data: "))["error"]
    assert error["code"] == "engine_died"
    again = daemon.local.post("/v1/chat/completions", json=chat())
    assert again.status_code == 200
    assert engine_of(daemon)["pid"] != pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_finish_and_leaves_nothing_behind(
    daemon: DaemonProcess, number: int
) -> None:
    warm(daemon)
    with daemon.local.stream(
        "POST", "/v1/chat/completions", json=chat(stream=True, max_tokens=1000)
    ) as reply:
        lines = reply.iter_lines()
        next(lines)
        pid = engine_of(daemon)["pid"]
        daemon.process.send_signal(number)
        wait_until(lambda: "stopping" in daemon.log(), "the daemon drains")
        assert httpx.post(f"{daemon.url}/v1/chat/completions", json=chat()).status_code == 503
        assert list(lines)[-2] == "data: [DONE]"
    assert daemon.process.wait(30) == 0
    assert not daemon.socket.exists()
    assert not exists(pid)


def test_the_drain_ends_at_its_timeout_with_an_error_that_says_why(home: Path) -> None:
    with running_daemon(home, MLXD_SERVER__DRAIN_TIMEOUT="100ms") as daemon:
        warm(daemon)
        with daemon.local.stream("POST", "/v1/chat/completions", json=endless()) as reply:
            lines = reply.iter_lines()
            next(lines)
            daemon.process.send_signal(signal.SIGTERM)
            data = [line for line in lines if line.startswith("data: ")]
        assert "stopping" in json.loads(data[-1].removeprefix("data: "))["error"]["message"]
        assert daemon.process.wait(30) == 0


def test_a_killed_daemon_takes_its_engine_along_and_the_next_start_is_clean(home: Path) -> None:
    with running_daemon(home) as daemon:
        warm(daemon)
        pid = engine_of(daemon)["pid"]
        daemon.stop(signal.SIGKILL)
        assert daemon.socket.exists()
        wait_until(lambda: not exists(pid), "the engine has ended")
    with running_daemon(home) as daemon:
        assert daemon.local.post("/v1/chat/completions", json=chat()).status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can end a stopped child")
def test_an_engine_that_is_stopped_ends_with_its_daemon(home: Path) -> None:
    with running_daemon(home) as daemon:
        warm(daemon)
        pid = engine_of(daemon)["pid"]
        os.kill(pid, signal.SIGSTOP)
        daemon.stop(signal.SIGKILL)
        wait_until(lambda: not exists(pid), "the engine has ended")


def test_prompts_and_answers_are_in_no_log(home: Path) -> None:
    with running_daemon(home, "--log-level", "debug") as daemon:
        secret = {"role": "user", "content": "the secret word is xylophone"}
        answer = daemon.local.post("/v1/chat/completions", json=chat(messages=[secret])).json()
        daemon.local.post("/v1/chat/completions", json=chat(messages=[{**secret, "role": "x"}]))
        assert daemon.stop() == 0
        assert "xylophone" not in daemon.log()
        assert answer["choices"][0]["message"]["content"] not in daemon.log()


def test_use_switches_the_default_and_is_remembered(home: Path, tiny_model: Path) -> None:
    (home / "models" / "other").symlink_to(tiny_model)
    with running_daemon(home) as daemon:
        assert daemon.local.post("/v1/chat/completions", json=chat()).status_code == 404
        reply = daemon.local.post("/control/v1/use", json={"model": "other"})
        assert reply.json() == {"model": "other", "state": "ready", "overridden_by": None}
        assert daemon.local.post("/v1/chat/completions", json=chat()).json()["model"] == "other"
        unknown = daemon.local.post("/control/v1/use", json={"model": "nope"})
        assert unknown.status_code == 404
    with running_daemon(home) as daemon:
        assert daemon.status()["default_model"] == "other"


def test_use_says_what_overrides_it(home: Path) -> None:
    use = {"model": "tiny"}
    with running_daemon(home, "--model", "tiny") as daemon:
        assert daemon.local.post("/control/v1/use", json=use).json()["overridden_by"] == "--model"
        daemon.stop()
    with running_daemon(home, MLXD_MODELS__DEFAULT="tiny") as daemon:
        reply = daemon.local.post("/control/v1/use", json=use).json()
        assert reply["overridden_by"] == "MLXD_MODELS__DEFAULT"


def test_the_model_flag_takes_a_folder(empty_home: Path, tiny_model: Path) -> None:
    with running_daemon(empty_home, "--model", str(tiny_model)) as daemon:
        assert daemon.local.post("/v1/chat/completions", json=chat()).json()["model"] == "tiny"


def test_a_default_model_that_does_not_exist_is_logged(home: Path) -> None:
    with running_daemon(home, "--model", "gone") as daemon:
        wait_until(lambda: "the default model 'gone' does not exist" in daemon.log(), "the remark")
        reply = daemon.local.post("/v1/chat/completions", json=chat())
        assert reply.status_code == 404
        message = reply.json()["error"]["message"]
        assert message == "model 'gone' does not exist; installed: tiny"
        status = daemon.status()
        assert (status["default_model"], status["default_fault"]) == (None, message)


def test_a_low_limit_on_open_files_is_raised(home: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    try:
        with running_daemon(home) as daemon, contextlib.ExitStack() as stack:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for _ in range(100):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(str(daemon.socket))
            assert daemon.local.get("/health").status_code == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_second_daemon_on_the_same_home_is_refused(daemon: DaemonProcess) -> None:
    second = run_mlxd(daemon.home)
    assert second.returncode == 1
    assert second.stderr.startswith(f"mlxd: another mlxd (pid {daemon.process.pid}) is running")
    assert daemon.local.get("/health").status_code == 200


def test_a_port_in_use_is_refused(daemon: DaemonProcess) -> None:
    port = daemon.url.rpartition(":")[2]
    with tempfile.TemporaryDirectory(prefix="mlxd") as other:
        refused = run_mlxd(Path(other), "--port", port)
    assert refused.returncode == 1
    assert refused.stderr.strip().endswith("or change server.port")
    assert len(refused.stderr.splitlines()) == 1


async def test_a_server_that_fails_ends_the_daemon_with_an_error(
    empty_home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_server: HttpServer) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setenv("MLXD_HOME", str(empty_home))
    monkeypatch.setattr(HttpServer, "main_loop", fail)
    settings = config.load(flags={"server.port": 0})
    with (
        listeners.opened(settings, Activated()) as sockets,
        pytest.raises(ServingFailed, match="out of order"),
    ):
        await Daemon(settings, sockets).live()
    assert "a server has failed" in caplog.text
    assert not settings.socket_file().exists()


@pytest.mark.parametrize(
    ("flags", "environ", "status", "message"),
    [
        (("--host", "0.0.0.0"), {}, 78, "server.api_key"),
        (("--port", "99999"), {}, 78, "65535"),
        (("--log-level", "loud"), {}, 78, "warning"),
        (
            ("--kv-bits", "3", "--kv-group-size", "5", "--quantized-kv-start", "-1"),
            {},
            78,
            "mlxd: command line: engine.kv_bits: found 3, expected one of 0, 4, 8\n"
            "command line: engine.kv_group_size: found 5, expected one of 32, 64, 128\n"
            "command line: engine.quantized_kv_start: found -1, expected",
        ),
        ((), {"MLXD_SERVER__PROT": "1"}, 78, "server.port"),
        (("--socket", "/" + "x" * 120), {}, 78, "server.socket"),
        (("--socket", "/proc/mlxd.sock"), {}, 1, "/proc/mlxd.sock"),
        (("--log-file", "/proc/nope/mlxd.log"), {}, 1, "/proc/nope"),
        (("--no-such-flag",), {}, 2, "--no-such-flag"),
    ],
)
def test_a_failed_start_prints_one_clear_line(
    empty_home: Path, flags: tuple[str, ...], environ: dict[str, str], status: int, message: str
) -> None:
    refused = run_mlxd(empty_home, *flags, **environ)
    assert refused.returncode == status
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_many_clients_at_once_are_all_answered(daemon: DaemonProcess) -> None:
    replies: list[int] = []

    def ask(i: int) -> None:
        with httpx.Client(base_url=daemon.url, timeout=60) as client:
            body = chat(stream=bool(i % 2), max_tokens=20)
            replies.append(client.post("/v1/chat/completions", json=body).status_code)

    clients = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert replies == [200] * 40


def test_the_daemon_imports_neither_mlx_nor_the_hub(daemon: DaemonProcess) -> None:
    report = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mlxd", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in report.splitlines()}
    assert "uvicorn" in imported
    assert not imported.intersection(FORBIDDEN)

    daemon.local.post("/v1/chat/completions", json=chat())
    maps = Path(f"/proc/{daemon.process.pid}/maps")
    if maps.exists():
        assert "libmlx" not in maps.read_text()
        engine_maps = Path(f"/proc/{engine_of(daemon)['pid']}/maps")
        assert "libmlx" in engine_maps.read_text()


async def test_without_requests_it_is_idle() -> None:
    async with asyncio.timeout(10):
        await until_idle(0.05, lambda: 3)


async def test_running_and_new_requests_start_the_wait_for_idleness_anew() -> None:
    counts = iter([0, None, None, 1, 2, *[2] * 1000])
    seen: list[int | None] = []

    def activity() -> int | None:
        seen.append(next(counts))
        return seen[-1]

    async with asyncio.timeout(10):
        await until_idle(0.1, activity)
    assert seen[:5] == [0, None, None, 1, 2]
    assert seen.count(2) > 2
