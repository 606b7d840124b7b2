"""The programs in examples/ run as they are."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon_process import DaemonProcess

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
CLIENT, SCRIPT = EXAMPLES / "openai_client_example.py", EXAMPLES / "socket.sh"
SECONDS = 240


@pytest.fixture(scope="session")
def daemon(smollm2_daemon: DaemonProcess) -> DaemonProcess:
    return smollm2_daemon


def run(*command: str | Path, home: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        command,
        env={**os.environ, "PATH": path, "MLXD_HOME": str(home), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


@pytest.mark.parametrize("over_socket", [False, True], ids=["tcp", "unix"])
def test_the_client_example(daemon: DaemonProcess, over_socket: bool) -> None:
    where = ["--socket"] if over_socket else ["--url", f"{daemon.url}/v1"]
    done = run(sys.executable, CLIENT, *where, home=daemon.home)
    assert done.returncode == 0, done.stderr
    said = dict(re.findall(r"^(chat|stream|call|answer|schema): *(.*)$", done.stdout, re.MULTILINE))
    assert list(said) == ["chat", "stream", "call", "answer", "schema"]
    assert "Paris" in said["chat"]
    assert said["stream"] == said["chat"]
    assert said["call"] == "get_weather {'city': 'Paris'}"
    assert "name=" in said["schema"]


@pytest.mark.parametrize("where", [["--socket"], ["--url", "http://127.0.0.1:9/v1"]])
def test_the_client_example_without_a_daemon(where: list[str], tmp_path: Path) -> None:
    done = run(sys.executable, CLIENT, *where, home=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "mlxctl start" in line


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
class TestShellScript:
    def test_it_asks_a_question(self, daemon: DaemonProcess) -> None:
        done = run(SCRIPT, 'What is the capital of France? "quoted"', home=daemon.home)
        assert done.returncode == 0, done.stderr
        *answer, choice = done.stdout.splitlines()
        assert answer
        assert choice in ("a question: yes", "a question: no")

    def test_it_prints_an_error_as_one_line(self, daemon: DaemonProcess) -> None:
        done = run(SCRIPT, "word " * 9000, home=daemon.home)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("socket.sh: the prompt has ")

    def test_it_fails_without_a_daemon(self, tmp_path: Path) -> None:
        done = run(SCRIPT, "Hi", home=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "socket.sh: mlxd is not running (try: mlxctl start)\n"
