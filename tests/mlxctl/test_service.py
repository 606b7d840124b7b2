"""`mlxctl start`, `stop`, `restart` and `version` with the real daemon."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from mlxctl.errors import CommandFailed, NotRunning
from mlxctl.service import manager, probe
from mlxctl.service.process import ProcessManager
from mlxd import config, lock, paths, run_record
from tests.mlxctl.conftest import DEADLINE, Run, command
from tests.support.daemon_process import wait_until
from tests.support.fake_daemon import FakeDaemon

pytestmark = pytest.mark.slow

# Holds the home as a daemon does, and will not go.
STUBBORN = """
import signal, sys, time
from pathlib import Path
from mlxd import lock
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with lock.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def nothing_left_behind(home: Path) -> Iterator[None]:
    yield
    if pid := lock.holder(paths.lock_file()):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def stubborn(home: Path) -> Iterator[int]:
    """The pid of a process that holds the home and ignores SIGTERM."""
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN, str(paths.lock_file())], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        yield holder.pid
        holder.kill()


def status(mlxctl: Run) -> dict:
    return json.loads(mlxctl("status", "--json").stdout)


def processes_of(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended, or is another user's
            if process.environ().get("MLXD_HOME") == str(home):
                found.append(process)
    return [each for each in found if each.pid != os.getpid()]


def test_the_daemons_life(mlxctl: Run) -> None:
    started = mlxctl("start")
    first = status(mlxctl)
    assert started.returncode == 0, started.stderr
    assert started.stdout == f"mlxd has started (pid {first['pid']}): {first['url']}\n"
    # Of its own session: closing the terminal does not end it.
    assert os.getsid(first["pid"]) == first["pid"]

    again = mlxctl("start")
    assert again.returncode == 0
    assert again.stdout == f"mlxd is running already (pid {first['pid']}): {first['url']}\n"
    assert f"mlxd {first['version']} (pid {first['pid']})" in mlxctl("version").stdout

    restarted = mlxctl("restart")
    second = status(mlxctl)
    assert restarted.returncode == 0
    assert restarted.stdout.splitlines() == [
        f"mlxd has stopped (pid {first['pid']})",
        f"mlxd has started (pid {second['pid']}): {second['url']}",
    ]
    assert second["pid"] != first["pid"]

    stopped = mlxctl("stop")
    assert (stopped.returncode, stopped.stdout) == (0, f"mlxd has stopped (pid {second['pid']})\n")
    assert mlxctl("stop").returncode == 3
    assert "mlxd is not running" in mlxctl("version").stdout
    assert mlxctl("logs").stdout.count("mlxd has stopped") == 2


def test_a_restart_keeps_what_the_daemon_was_started_with(
    home: Path, tiny_model: Path, mlxctl: Run, tmp_path: Path
) -> None:
    (tmp_path / tiny_model.name).symlink_to(tiny_model)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    flags = ["--port", str(port), "--model", tiny_model.name]
    environ = {**os.environ, "MLXD_GENERATION__MAX_TOKENS": "7"}
    by_hand = subprocess.Popen([sys.executable, "-m", "mlxd", *flags], cwd=tmp_path, env=environ)
    wait_until(lambda: mlxctl("status").returncode == 0, "the daemon answers")
    # Of that folder, in which others may write, no code runs.
    (tmp_path / "uvloop.py").write_text("raise SystemExit('planted')")
    for _ in range(2):
        restarted = mlxctl("restart")
        assert restarted.returncode == 0, restarted.stderr
        by_hand.wait(DEADLINE)
        after = status(mlxctl)
        assert after["url"] == f"http://127.0.0.1:{port}"
        assert after["default_model"] == tiny_model.name  # relative to the folder of before
        answer = httpx.post(
            f"{after['url']}/v1/completions", json={"prompt": "Hi"}, timeout=DEADLINE
        ).json()
        assert answer["usage"]["completion_tokens"] <= 7
    log_file = ["--log-file", str(home / "logs" / "mlxd.log")]
    assert run_record.read(paths.run_record_file()).arguments == [*log_file, *flags]

    mlxctl("restart", MLXD_GENERATION__MAX_TOKENS="3")  # this shell's variable wins
    answer = httpx.post(
        f"{after['url']}/v1/completions", json={"prompt": "Hi"}, timeout=DEADLINE
    ).json()
    assert answer["usage"]["completion_tokens"] <= 3
    mlxctl("stop")
    mlxctl("start")
    assert run_record.read(paths.run_record_file()).arguments == log_file
    assert status(mlxctl)["default_model"] is None


def test_a_restart_does_not_lose_a_key_of_the_environment(mlxctl: Run) -> None:
    key = {"MLXD_SERVER__API_KEY": "a-long-secret"}
    mlxctl("start", **key)
    before = status(mlxctl)["pid"]
    refused = mlxctl("restart")
    assert refused.returncode == 1
    assert "the daemon has MLXD_SERVER__API_KEY from its environment" in refused.stderr
    assert status(mlxctl)["pid"] == before
    restarted = mlxctl("restart", **key)
    assert restarted.returncode == 0, restarted.stderr
    assert httpx.get(f"{status(mlxctl)['url']}/v1/models").status_code == 401


def test_a_restart_forgets_a_socket_where_this_shell_does_not_look(home: Path, mlxctl: Run) -> None:
    mlxctl("start", MLXD_SERVER__SOCKET=str(home / "other.sock"))
    restarted = mlxctl("restart")
    assert restarted.returncode == 0, restarted.stderr
    assert status(mlxctl)["socket"] == str(home / "run" / "mlxd.sock")


def test_restart_takes_a_new_port(home: Path, mlxctl: Run) -> None:
    mlxctl("start")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    before = status(mlxctl)["url"]
    mlxctl("restart", MLXD_SERVER__PORT=str(port))
    assert status(mlxctl)["url"] == f"http://127.0.0.1:{port}"
    with pytest.raises(httpx.ConnectError):
        httpx.get(before)


def test_restart_starts_what_is_stopped(mlxctl: Run) -> None:
    assert mlxctl("restart").returncode == 0
    assert status(mlxctl)["running"]


def test_two_starts_at_once_start_one_daemon(home: Path, mlxctl: Run) -> None:
    starts = [subprocess.Popen(command("start"), stdout=subprocess.PIPE) for _ in range(2)]
    said = [start.communicate(timeout=DEADLINE)[0].decode() for start in starts]
    assert [start.returncode for start in starts] == [0, 0]
    winner = lock.holder(paths.lock_file())
    assert all(f"(pid {winner})" in line for line in said)
    assert [each.pid for each in processes_of(home)] == [winner]


def test_stop_lets_a_running_answer_finish(home: Path, tiny_model: Path, mlxctl: Run) -> None:
    (home / "models").mkdir()
    (home / "models" / "tiny").symlink_to(tiny_model)
    mlxctl("start")
    with subprocess.Popen(
        command("run", "--max-tokens", "1000", "hi"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as asking:
        first = asking.stdout.read(1)
        assert mlxctl("stop").returncode == 0
        assert len(first + asking.stdout.read()) == len(b"\n") + 1000
        assert asking.wait(DEADLINE) == 0


def test_start_waits_for_a_daemon_that_is_stopping_and_says_so(
    home: Path, tiny_model: Path, mlxctl: Run
) -> None:
    (home / "models").mkdir()
    (home / "models" / "tiny").symlink_to(tiny_model)
    mlxctl("start")
    with contextlib.ExitStack() as stack:

        def begin(*arguments: str) -> "subprocess.Popen[bytes]":
            return stack.enter_context(
                subprocess.Popen(
                    command(*arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )

        asking = begin("run", "--max-tokens", "1000", "hi")
        first = asking.stdout.read(1)
        before = status(mlxctl)
        (model,) = before["models"]
        os.kill(model["pid"], signal.SIGSTOP)  # its answer takes as long as this test needs
        os.kill(before["pid"], signal.SIGTERM)
        wait_until(lambda: status(mlxctl)["stopping"], "the daemon is stopping")
        assert f"is stopping (pid {before['pid']}" in mlxctl("status").stdout
        assert httpx.get(f"{before['url']}/health").status_code == 503
        refused = mlxctl("use", "tiny")
        assert (refused.returncode, refused.stderr) == (
            1,
            "mlxctl: the daemon is stopping; try again once it has restarted\n",
        )

        starting, stopping = begin("start"), begin("stop")
        for waiting in (starting, stopping):
            assert waiting.stderr.readline().decode() == "waiting for 1 running request…\n"
        os.kill(model["pid"], signal.SIGCONT)
        assert len(first + asking.stdout.read()) == len(b"\n") + 1000
        assert stopping.stdout.read().decode() == f"mlxd has stopped (pid {before['pid']})\n"
        assert starting.stdout.read().startswith(b"mlxd has started (pid ")


def test_relative_paths_mean_the_same_to_the_daemon(home: Path, tiny_model: Path) -> None:
    (home / "more").mkdir()
    (home / "more" / "tiny").symlink_to(tiny_model)
    environ = os.environ | {
        "MLXD_HOME": "h",
        "MLXD_SERVER__SOCKET": "s",
        "MLXD_MODELS__DIRS": "more",
    }

    def run(*arguments: str) -> str:
        return subprocess.run(
            command(*arguments), cwd=home, env=environ, capture_output=True, text=True
        ).stdout

    run("start")
    try:
        found = json.loads(run("status", "--json"))
        assert found["socket"] == str(home / "s")
        assert found["config"] == str(home / "h" / "config.toml")
        assert found["default_model"] == "tiny"
    finally:
        run("stop")


def test_a_port_in_use_is_one_line(mlxctl: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = mlxctl("start", MLXD_SERVER__PORT=str(port))
    assert done.returncode == 1
    assert done.stderr.startswith(f"mlxctl: mlxd did not start: 127.0.0.1:{port} is in use")
    assert done.stderr.count("\n") == 1
    # The daemon that failed may not have gone yet.
    wait_until(lambda: mlxctl("status").returncode == 3, "it has ended")
    shown = mlxctl("status")
    assert f"last exit  failed: 127.0.0.1:{port} is in use" in shown.stdout


def test_a_crash_shows_the_end_of_what_was_printed(home: Path, mlxctl: Run) -> None:
    (home / "broken").mkdir()
    (home / "broken" / "uvloop.py").write_text("raise RuntimeError('out of order')")
    done = mlxctl("start", PYTHONPATH=str(home / "broken"))
    assert done.returncode == 1
    first, *rest = done.stderr.splitlines()
    file = home / "logs" / "mlxd.stderr.log"
    assert first == f"mlxctl: mlxd did not start: exit status 1; the end of {file}:"
    assert rest[-1] == "  RuntimeError: out of order"


def test_a_mistake_in_the_configuration_starts_nothing_and_stops_nothing(mlxctl: Run) -> None:
    wrong = {"MLXD_SERVER__HOST": "0.0.0.0"}
    assert "server.api_key" in mlxctl("start", **wrong).stderr
    mlxctl("start")
    before = status(mlxctl)["pid"]
    assert mlxctl("restart", **wrong).returncode == 1
    assert status(mlxctl)["pid"] == before
    assert mlxctl("stop", MLXD_SERVER__PORT="many").returncode == 0


def test_logs_that_cannot_be_written_are_one_line(home: Path, mlxctl: Run) -> None:
    (home / "logs").write_text("a file where the folder belongs")
    done = mlxctl("start")
    assert done.returncode == 1
    assert "mlxd.stderr.log cannot be written" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_daemon_that_does_not_answer_in_time_is_killed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "START_SECONDS", 0.01)
    with pytest.raises(CommandFailed, match=r"did not answer on .* within 0.01 s and was killed"):
        ProcessManager(config.load()).start(print)
    assert lock.holder(paths.lock_file()) is None


def test_start_tells_of_one_that_runs_and_does_not_answer(
    stubborn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "START_SECONDS", 0.01)
    with pytest.raises(CommandFailed, match=rf"mlxd \(pid {stubborn}\) runs, but does not answer"):
        ProcessManager(config.load()).start(print)


def test_stop_says_what_it_waits_for_and_kills_in_the_end(
    stubborn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_QUIET_SECONDS", 0.01)
    monkeypatch.setattr(probe, "_STOP_SECONDS", 0.1)
    said: list[str] = []
    settings = config.load(flags={"server.drain_timeout": "0.1s"})
    with pytest.raises(CommandFailed, match=r"did not stop within 0.2 s and was killed"):
        ProcessManager(settings).stop(said.append)
    assert said == [f"waiting for mlxd (pid {stubborn}) to end…"]
    with pytest.raises(NotRunning):
        ProcessManager(settings).stop(said.append)


@pytest.mark.parametrize(
    ("requests", "count"), [(1, "1 running request"), (3, "3 running requests")]
)
def test_stop_counts_the_requests_it_waits_for(
    listener: FakeDaemon,
    stubborn: int,
    monkeypatch: pytest.MonkeyPatch,
    requests: int,
    count: str,
) -> None:
    monkeypatch.setattr(probe, "_QUIET_SECONDS", 0.01)
    monkeypatch.setattr(probe, "_STOP_SECONDS", 0.1)
    model = {"id": "tiny", "state": "ready", "requests": requests}
    places = dict.fromkeys(
        ("socket", "config", "settings", "models_dir", "adapters_dir", "log"), ""
    )
    listener.answers(("GET", "/control/v1/status"), {"running": True, "models": [model], **places})
    said: list[str] = []
    with pytest.raises(CommandFailed, match="was killed"):
        ProcessManager(config.load(flags={"server.drain_timeout": "0.1s"})).stop(said.append)
    assert said == [f"waiting for {count}…"]
