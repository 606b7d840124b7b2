"""The log of a real daemon: the entry of a request, and following through a restart."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.mlxctl.conftest import DEADLINE, Run, command
from tests.support.daemon_process import wait_until

pytestmark = pytest.mark.slow

SECRET = "the-secret-of-the-prompt"


@pytest.fixture
def started(home: Path, mlxctl: Run, tiny_model: Path) -> Iterator[Path]:
    """The home of a daemon that serves the tiny model, logging in JSON, into small files."""
    (home / "models").mkdir()
    (home / "models" / "tiny").symlink_to(tiny_model)
    (home / "config.toml").write_text('log.format = "json"\nlog.max_size = "6kB"')
    assert mlxctl("start").returncode == 0
    yield home
    mlxctl("stop")


def ask(home: Path, request_id: str) -> None:
    transport = httpx.HTTPTransport(uds=str(home / "run" / "mlxd.sock"))
    with httpx.Client(transport=transport, timeout=DEADLINE) as client:
        body = {
            "messages": [{"role": "user", "content": SECRET}],
            "max_tokens": 20,
            "logit_bias": {"257": -100},
        }
        headers = {"x-request-id": request_id}
        url = "http://localhost/v1/chat/completions"
        assert client.post(url, json=body, headers=headers).status_code == 200


def test_the_entry_of_a_request_has_its_times_but_no_text(started: Path, mlxctl: Run) -> None:
    ask(started, "r-1")
    wait_until(lambda: "r-1" in (started / "logs" / "mlxd.log").read_text(), "it is logged")
    (line,) = mlxctl("logs", "--json", "--request", "r-1").stdout.splitlines()
    entry = json.loads(line)
    assert (entry["status"], entry["model"], entry["completion_tokens"]) == (200, "tiny", 20)
    assert entry["prompt_tokens"] > entry["cached_tokens"] >= 0
    parts = [entry[name] for name in ("queue_ms", "prefill_ms", "decode_ms")]
    assert all(part >= 0 for part in parts)
    assert sum(parts) <= entry["total_ms"] + 1
    assert entry["tokens_per_second"] == pytest.approx(20_000 / entry["decode_ms"], rel=0.2)
    assert " INFO    mlxd.http request=r-1: POST " in mlxctl("logs", "--request", "r-1").stdout
    assert mlxctl("logs", "--engine", "tiny", "--since", "1h").stdout.count("tiny is ready") == 1
    for file in (started / "logs").iterdir():
        assert SECRET not in file.read_text()


def test_following_through_rotations_a_restart_and_a_kill(started: Path, mlxctl: Run) -> None:
    with subprocess.Popen(command("logs", "-f", "--json"), stdout=subprocess.PIPE) as process:
        deadline = threading.Timer(DEADLINE, process.kill)
        deadline.start()
        seen: list[dict[str, object]] = []

        def see(text: str, request: str | None = None) -> None:
            """Read up to that entry, so that the follower is never more than one file behind."""
            while not seen or text not in seen[-1]["message"] or seen[-1].get("request") != request:
                line = process.stdout.readline()
                assert line, f"{text!r} is not in {seen}"
                seen.append(json.loads(line))

        def ask_and_see(when: str) -> None:
            for number in range(10):
                ask(started, f"{when}-{number}")
            see("POST ", f"{when}-9")

        try:
            see(" serves ")
            ask_and_see("before")
            assert mlxctl("restart").returncode == 0
            see("mlxd has stopped")
            see(" serves ")
            ask_and_see("after")
            pid = json.loads(mlxctl("status", "--json").stdout)["pid"]
            os.kill(pid, signal.SIGKILL)
            assert mlxctl("start").returncode == 0
            see(" serves ")
            ask_and_see("killed")
        finally:
            deadline.cancel()
            process.send_signal(signal.SIGINT)
    asked = [entry["request"] for entry in seen if "POST /v1/chat" in entry["message"]]
    assert asked == [f"{when}-{n}" for when in ("before", "after", "killed") for n in range(10)]
    assert len(list((started / "logs").glob("mlxd.log.*"))) > 1
