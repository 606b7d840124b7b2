"""`mlxctl bench` with a real daemon, in a real terminal, and beside other servers."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.tiny_model import make_tiny_model
from tests.mlxctl.conftest import Run, command, imported_by
from tests.support.certificates import OPENSSL, make_certificate
from tests.support.daemon_process import DEADLINE, DaemonProcess, running_daemon, wait_until
from tests.support.tmux import needs_tmux, terminal

pytestmark = pytest.mark.slow

KEY = "sk-of-the-other-server"
SHORT = ("--prompts", "16,600", "--streams", "1,3", "--tokens", "8", "--rounds", "1")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cert.pem and key.pem for localhost in a folder."""
    if not OPENSSL:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder)
    return folder


@pytest.fixture(scope="module")
def serving(certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon with the tiny model, and HTTPS and a key on TCP."""
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder)
        make_tiny_model(home / "models" / "tiny", context_length=32768)
        environ = {
            "MLXD_SERVER__TLS_CERT": str(certificate / "cert.pem"),
            "MLXD_SERVER__TLS_KEY": str(certificate / "key.pem"),
            "MLXD_SERVER__API_KEY": KEY,
        }
        with running_daemon(home, "--model", "tiny", **environ) as daemon:
            yield daemon


@pytest.fixture
def bench(serving: DaemonProcess, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `mlxctl bench` on that daemon."""
    monkeypatch.setenv("MLXD_HOME", str(serving.home))

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command("bench", *arguments),
            capture_output=True,
            text=True,
            env={**os.environ, **environ},
            timeout=DEADLINE,
        )

    return run


@needs_tmux
def test_in_a_terminal(bench: Run, tmp_path: Path) -> None:
    plot = tmp_path / "bench.svg"
    with terminal(tmp_path, command("bench", *SHORT, "--plot", str(plot)), height=60) as shown:
        assert "━" in shown.wait_for("unloading and loading the model")  # the progress
        screen = shown.wait_for("exit status")
    lines = screen.splitlines()
    assert lines[0].startswith("tiny on mlxd ")
    assert lines[4] == "PROMPT  STREAMS  FIRST TOKEN  SLOWEST  PROMPT TOK/S  STREAM TOK/S  TOK/S"
    assert [line.split()[:2] for line in lines[5:9]] == [
        ["16", "1"],
        ["16", "3"],
        ["600", "1"],
        ["600", "3"],
    ]
    assert lines[10] == "PROMPT  STREAMS  TOK/S"
    assert all("█" in line for line in lines[11:15])
    assert lines[16] == "time to first token by where the beginning of the prompt was"
    assert lines[19].split()[0] == "600"
    assert lines[21].startswith("memory: ")
    assert lines[22] == "exit status 0"
    assert "━" not in screen  # the progress is gone
    assert plot.read_text().startswith("<?xml")


def test_beside_a_server_with_https_and_a_key(
    bench: Run, serving: DaemonProcess, certificate: Path, tmp_path: Path
) -> None:
    url = f"https://localhost:{serving.url.rpartition(':')[2]}/v1"
    environ = {"SSL_CERT_FILE": str(certificate / "cert.pem"), "AGAINST_API_KEY": KEY}
    done = bench("tiny", *SHORT, "--against", url, "--json", **environ)

    found = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    names = [server["name"] for server in found["servers"]]
    assert names == ["mlxd", url.removeprefix("https://").removesuffix("/v1")]
    assert [server["model"] for server in found["servers"]] == ["tiny", "tiny"]
    steps = [(16, 1), (16, 3), (600, 1), (600, 3)]
    assert [(row["prompt"], row["streams"], row["server"]) for row in found["throughput"]] == [
        (*step, name) for step in steps for name in names
    ]
    for row in found["throughput"]:
        assert row["answer_tokens"] == 8
        assert abs(row["prompt_tokens"] - row["prompt"]) < 4
        assert 0 < row["first_token_s"] <= row["first_token_max_s"]
        assert row["tokens_per_second"] > 0
    cached = {
        (row["prompt"], row["server"], row["state"]): row["cached_tokens"]
        for row in found["prompt_cache"]
    }
    assert cached[600, "mlxd", "cold"] < 16
    assert cached[600, "mlxd", "warm"] >= 512
    assert cached[600, "mlxd", "disk"] >= 512
    assert [(row["prompt"], row["streams"]) for row in found["against"]] == steps
    assert found["memory"]["peak_bytes"] >= found["memory"]["ready_bytes"] > 1e7
    assert (found["other_requests"], found["left_out"]) == (0, [])


def test_beside_mlx_lm_server(bench: Run, serving: DaemonProcess, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    model = serving.home / "models" / "tiny"
    server = [sys.executable, "-m", "mlx_lm", "server", "--port", str(port), "--model", str(model)]
    environ = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(server, env=environ, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _listens(port), "mlx_lm server listens")
            done = bench(*SHORT, "--against", f"http://127.0.0.1:{port}")
        finally:
            process.kill()
    assert (done.returncode, done.stderr) == (0, "")
    assert f", beside {model} on http://127.0.0.1:{port}\n" in done.stdout
    assert f"mlxd / 127.0.0.1:{port}: how many times as soon, and as fast\n" in done.stdout
    assert "not measured" not in done.stdout


def test_control_c_leaves_nothing_running(bench: Run, serving: DaemonProcess) -> None:
    long = ("--prompts", "16", "--streams", "3", "--tokens", "30000", "--time", "600")
    with subprocess.Popen(
        command("bench", *long), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        wait_until(lambda: _requests(serving) == 3, "three streams run")
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=DEADLINE)
    assert (running.returncode, said) == (-signal.SIGINT, ("", "\n"))
    wait_until(lambda: _requests(serving) == 0, "their requests have ended")


def test_requests_of_others_are_told(bench: Run, serving: DaemonProcess) -> None:
    body = {"prompt": "On and on", "max_tokens": 30000, "ignore_eos": True, "stream": True}
    with serving.local.stream("POST", "/v1/completions", json=body) as answer:
        pieces = answer.iter_bytes()
        next(pieces)
        done = bench("--prompts", "16", "--streams", "1", "--tokens", "8", "--rounds", "1")
    assert done.returncode == 0
    assert "mlxctl: the daemon has other requests, which slow down what is measured" in done.stderr
    assert "not measured: the prompt cache on disk: others use the daemon" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["nope"], 1, "mlxctl: model 'nope' does not exist; installed: tiny"),
        (["--plot", "x.pdf"], 2, "'--plot': x.pdf does not end with .png or .svg."),
        (["--plot", "/no/x.png"], 2, "'--plot': /no is no folder."),
        (["--streams", "1,x"], 2, "'1,x' is no list of positive numbers like 1,4,8."),
        (["--prompts", "0"], 2, "'0' is no list of positive numbers like 1,4,8."),
        (["--against", "localhost:1"], 2, "'localhost:1' is no URL like http://127.0.0.1:8000."),
        (["--against-model", "x"], 2, "--against-model needs --against."),
        (["--prompts", "40000"], 1, "mlxctl: no prompt fits: the context has 32,768 tokens"),
    ],
)
def test_wrong_arguments(bench: Run, arguments: list[str], status: int, line: str) -> None:
    done = bench(*arguments)
    assert done.returncode == status
    assert done.stderr.strip().endswith(line)
    assert done.stdout == ""


def test_other_server_that_cannot_be_asked(bench: Run, serving: DaemonProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = bench("--against", f"http://127.0.0.1:{port}")
    assert done.stderr == f"mlxctl: http://127.0.0.1:{port} does not answer: Connection refused\n"
    url = f"https://localhost:{serving.url.rpartition(':')[2]}"
    assert "certificate verify failed" in bench("--against", url).stderr


def test_without_a_daemon(home: Path, mlxctl: Run) -> None:
    done = mlxctl("bench")
    assert (done.returncode, done.stderr) == (
        3,
        "mlxctl: mlxd is not running; start it with: mlxctl start\n",
    )


def test_help_imports_nothing_that_only_measuring_needs() -> None:
    assert {"matplotlib", "rich", "httptools"}.isdisjoint(imported_by("bench", "--help"))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _requests(serving: DaemonProcess) -> int:
    return sum(model["requests"] for model in serving.status()["models"])
