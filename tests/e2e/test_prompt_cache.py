"""Prompts are not read again: in the next turn, after an unload, a restart and a SIGKILL."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.random_model import make_random_model
from tests.support.daemon_process import DaemonProcess, running_daemon, wait_until

pytestmark = pytest.mark.slow

MODELS = ["llama", "gpt_oss", "qwen3_5"]
HISTORY: list[dict[str, str]] = [
    {"role": "system", "content": "Be brief. " * 60},
    {"role": "user", "content": "What is the capital of France? " * 10},
]
NEXT: list[dict[str, str]] = [
    *HISTORY,
    {"role": "assistant", "content": "Paris."},
    {"role": "user", "content": "And of Spain?"},
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("random")
    for name in MODELS:
        make_random_model(folder / name, name)
    return folder


@pytest.fixture
def home(models: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        (Path(folder) / "models").symlink_to(models)
        yield Path(folder)


def ask(daemon: DaemonProcess, model: str, messages: list[dict[str, str]]) -> tuple[list[int], int]:
    """Return the tokens of an answer, and how many of the prompt were not computed again."""
    body: dict[str, Any] = {"model": model, "messages": messages, "max_tokens": 8, "logprobs": True}
    body |= {"temperature": 0, "top_logprobs": 1, "logit_bias": {"256": -100, "258": -100}}
    reply = daemon.local.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    content = reply.json()["choices"][0]["logprobs"]["content"]
    cached = reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    return [entry["token"] for entry in content], cached


def files(home: Path) -> list[Path]:
    return list((home / "cache" / "prompts").rglob("*.kv"))


@pytest.mark.parametrize("model", MODELS)
def test_a_history_survives_whatever_ends_the_engine(home: Path, model: str) -> None:
    with running_daemon(home, MLXD_ENGINE__PROMPT_CACHE="0") as daemon:
        cold, cached = ask(daemon, model, NEXT)
        assert cached == 0
    with running_daemon(home) as daemon:
        ask(daemon, model, HISTORY)
        answer, in_memory = ask(daemon, model, NEXT)
        assert answer == cold
        assert in_memory > 900
        daemon.local.post("/control/v1/unload", json={})
        answer, unloaded = ask(daemon, model, NEXT)
        assert answer == cold
        assert unloaded >= in_memory
        (loaded,) = [each for each in daemon.status()["models"] if each["pid"]]
        os.kill(daemon.process.pid, signal.SIGKILL)
        os.kill(loaded["pid"], signal.SIGKILL)
        daemon.process.wait()
    with running_daemon(home) as daemon:
        answer, killed = ask(daemon, model, NEXT)
        assert answer == cold
        assert killed >= in_memory


def test_a_damaged_file_is_not_served(home: Path) -> None:
    with running_daemon(home) as daemon:
        before, _ = ask(daemon, "gpt_oss", NEXT)
        wait_until(lambda: len(files(home)) > 3, "the prompt is on disk")
    for number, file in enumerate(files(home)):
        content = bytearray(file.read_bytes())
        content[(number * 7919) % len(content)] ^= 1
        file.write_bytes(content)
    with running_daemon(home) as daemon:
        assert ask(daemon, "gpt_oss", NEXT) == (before, 0)
        assert "does not match its checksum and is dropped" in daemon.log()


def test_it_is_off_without_disk_space(home: Path) -> None:
    with running_daemon(home, MLXD_ENGINE__PROMPT_CACHE_DISK="0") as daemon:
        ask(daemon, "llama", HISTORY)
    assert files(home) == []
