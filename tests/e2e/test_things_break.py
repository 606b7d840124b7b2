"""What breaks around a daemon takes neither its other models nor its clients from it.

One daemon goes through all of it, in this order.
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from scripts.tiny_model import make_tiny_model
from tests.support.daemon_process import DaemonProcess, running_daemon, wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
HANG_SECONDS = 10.0


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        make_tiny_model(Path(folder) / "models" / "near", context_length=16384)
        shutil.copytree(Path(folder) / "models" / "near", Path(folder) / "volume" / "far")
        (Path(folder) / "gate").touch()
        yield Path(folder)


@pytest.fixture(scope="module")
def daemon(home: Path) -> Iterator[DaemonProcess]:
    environ = {
        "MLXD_MODELS__DIRS": str(home / "volume"),
        "MLXD_ENGINE__HANG_TIMEOUT": str(HANG_SECONDS),
        "PYTHONPATH": str(ROOT),
    }
    program = ("-m", "tests.fakes.hung_volume_daemon", str(home / "volume"), str(home / "gate"))
    log = home / "logs" / "mlxd.log"
    with running_daemon(home, "--log-file", str(log), program=program, **environ) as daemon:
        yield daemon


def ask(daemon: DaemonProcess, model: str = "near") -> httpx.Response:
    body = {"model": model, "prompt": "Once", "max_tokens": 5, "temperature": 0}
    return daemon.local.post("/v1/completions", json=body)


def log(home: Path) -> str:
    return (home / "logs" / "mlxd.log").read_text()


def mlxctl(home: Path, *arguments: str) -> str:
    environ = {**os.environ, "MLXD_HOME": str(home)}
    command = [sys.executable, "-m", "mlxctl", *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def test_models_beside_a_volume_that_hangs_from_the_start_are_served(
    daemon: DaemonProcess, home: Path
) -> None:
    assert ask(daemon).status_code == 200
    volume = str(home / "volume")
    wait_until(lambda: daemon.status()["silent_dirs"] == [volume], "the daemon tells of it")
    assert [each["id"] for each in daemon.local.get("/v1/models").json()["data"]] == ["near"]
    for name in ("far", f"{volume}/far", "owner/far@main"):
        refused = ask(daemon, name)
        assert refused.status_code == 503, refused.text
        assert f"{volume} does not answer" in refused.json()["error"]["message"]
    assert f"no answer      {volume} (models.dirs)" in mlxctl(home, "status")
    wait_until(lambda: f"{volume} does not answer" in log(home), "the log tells")

    (home / "gate").unlink()
    wait_until(lambda: ask(daemon, "far").status_code == 200, "the models on it are served")
    assert daemon.status()["silent_dirs"] == []
    (home / "gate").touch()
    assert daemon.local.post("/control/v1/unload", json={}).status_code == 200
    (home / "gate").unlink()


def test_a_log_folder_that_is_removed_is_created_again(daemon: DaemonProcess, home: Path) -> None:
    shutil.rmtree(home / "logs")
    assert ask(daemon).status_code == 200
    wait_until(lambda: "POST /v1/completions 200" in log(home), "the log has it")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits other processes")
def test_on_a_full_disk_requests_are_answered_and_what_fails_is_reported(
    daemon: DaemonProcess, home: Path
) -> None:
    pid = daemon.process.pid
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, unlimited[1]))
    body = {"model": "near", "input": "Once", "max_output_tokens": 5}
    kept = daemon.local.post("/v1/responses", json=body)
    assert kept.status_code == 200
    assert daemon.local.get(f"/v1/responses/{kept.json()['id']}").status_code == 200  # in memory
    assert "cannot be written" in mlxctl(home, "alias", "other", "near")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    kept = daemon.local.post("/v1/responses", json=body)
    assert daemon.local.get(f"/v1/responses/{kept.json()['id']}").status_code == 200
    wait_until(lambda: "could not be written: File too large" in log(home), "the log tells")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits other processes")
def test_without_free_descriptors_the_models_stay_and_loading_is_an_explained_error(
    daemon: DaemonProcess,
) -> None:
    assert daemon.local.post("/control/v1/unload", json={}).status_code == 200
    pid = daemon.process.pid
    plenty = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd")) + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, plenty[1]))
    refused = ask(daemon)
    assert refused.status_code == 503
    assert "Too many open files" in refused.json()["error"]["message"]
    wait_until(lambda: daemon.local.get("/v1/models/nothing").status_code == 404, "it looks")
    assert daemon.local.get("/v1/models/near").status_code == 200
    resource.prlimit(pid, resource.RLIMIT_NOFILE, plenty)
    assert ask(daemon).status_code == 200


def test_a_stream_goes_on_after_the_machine_was_asleep(daemon: DaemonProcess) -> None:
    """Its processes stand still for longer than any timeout, and wake up one after the other."""
    assert ask(daemon).status_code == 200
    (pid,) = [each["pid"] for each in daemon.status()["models"] if each["id"] == "near"]
    body = {"model": "near", "prompt": "Once", "max_tokens": 500, "ignore_eos": True}
    lines: list[str] = []
    with (
        httpx.Client(base_url=daemon.url, timeout=60) as client,
        client.stream("POST", "/v1/completions", json=body | {"stream": True}) as stream,
    ):
        for line in stream.iter_lines():
            lines += [line] if line.startswith("data: ") else []
            if len(lines) == 3:
                os.kill(pid, signal.SIGSTOP)
                os.kill(daemon.process.pid, signal.SIGSTOP)
                time.sleep(1.1 * HANG_SECONDS)
                os.kill(daemon.process.pid, signal.SIGCONT)
                time.sleep(0.5)
                os.kill(pid, signal.SIGCONT)
                lines.append(line)
    assert lines[-1] == "data: [DONE]"
    assert all(each["crashes"] == 0 for each in daemon.status()["models"])
