"""Requests that ended an engine once are refused, and a stream beside them loses nothing."""

import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.tiny_model import make_tiny_model
from tests.support.daemon_process import DaemonProcess, running_daemon
from tests.support.grammars import add_long_tokens, slow_grammar

pytestmark = pytest.mark.slow

USER = [{"role": "user", "content": "Hi"}]
CHAIN = "start: r0\n" + "".join(f"r{i}: r{i + 1}\n" for i in range(60_000)) + 'r60000: "x"\n'
POISON: dict[str, dict[str, Any]] = {
    "rules": {"guided_grammar": CHAIN},
    "choices": {"guided_choice": [f"choice {i}" for i in range(100_000)]},
    "power": {"chat_template": "{{ 10 ** (10 ** 9) }}"},
    "memory": {"chat_template": "{{ 'a' * 4000000000 }}"},
    "text": {"chat_template": "{{ 'a' * 40000000 }}"},
    "half": {"chat_template": "{{ raise_exception('\\ud800') }}"},
    "stops": {"stop": ["x" * 1000] * 256},
    "draft": {"draft_model": "nothing"},
    "slow": {"guided_grammar": slow_grammar(1)},
    "slow later": {"guided_grammar": slow_grammar(20), "max_tokens": 40},
    "slow again": {"guided_grammar": slow_grammar(20), "max_tokens": 40},
}


@pytest.fixture(scope="module")
def daemon() -> Iterator[DaemonProcess]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        add_long_tokens(make_tiny_model(Path(folder) / "models" / "tiny", context_length=16384))
        with running_daemon(Path(folder)) as daemon:
            yield daemon


def write(daemon: DaemonProcess) -> str:
    body = {"prompt": "Once", "max_tokens": 3000, "ignore_eos": True, "temperature": 0}
    response = daemon.local.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["text"]
    return text


def engine(daemon: DaemonProcess) -> tuple[int, int]:
    loaded = daemon.status()["models"][0]
    return loaded["pid"], loaded["crashes"]


def test_poison_is_refused_and_those_beside_it_lose_nothing(daemon: DaemonProcess) -> None:
    expected, before = write(daemon), engine(daemon)
    answers: list[str] = []
    done = threading.Event()

    def keep_writing() -> None:
        while not done.is_set():
            answers.append(write(daemon))

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for name, fields in POISON.items():
            body = {"messages": USER, "max_tokens": 2, **fields}
            with httpx.Client(base_url=daemon.url, timeout=30) as client:
                response = client.post("/v1/chat/completions", content=json.dumps(body))
            assert 400 <= response.status_code < 500, (name, response.text)
    finally:
        done.set()
        writer.join(60)
    assert set(answers) == {expected}
    assert engine(daemon) == before
