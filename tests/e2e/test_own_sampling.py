"""The sampling that a model asks for: below the configuration, which is below the request."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon_process import DaemonProcess, running_daemon

pytestmark = pytest.mark.slow

OWN = {"do_sample": True, "temperature": 1.0, "top_k": 50, "repetition_penalty": 1.3}


@pytest.fixture(scope="module")
def daemon(tiny_model: Path) -> Iterator[DaemonProcess]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder)
        for name in ("random", "held"):
            model = home / "models" / name
            shutil.copytree(tiny_model, model)
            (model / "generation_config.json").write_text(json.dumps(OWN))
        (home / "models" / "plain").symlink_to(tiny_model)
        (home / "config.toml").write_text(
            "[model.held.generation]\ntemperature = 0\nrepetition_penalty = 1\n"
        )
        with running_daemon(home) as daemon:
            yield daemon


def answer(daemon: DaemonProcess, model: str, **fields: Any) -> str:
    body = {"model": model, "prompt": "sampling", "max_tokens": 30, **fields}
    reply = daemon.local.post("/v1/completions", content=json.dumps(body))
    text: str = reply.json()["choices"][0]["text"]
    return text


def test_it_counts_where_nothing_else_is_said(daemon: DaemonProcess) -> None:
    """[mlx-vlm#1331, mlx-lm#140]"""
    said = {"temperature": 1.0, "top_k": 50, "repetition_penalty": 1.3}
    own = answer(daemon, "random", seed=5)
    assert own == answer(daemon, "plain", seed=5, repetition_context_size=0, **said)
    assert own != answer(daemon, "plain", seed=5)


def test_the_configuration_wins(daemon: DaemonProcess) -> None:
    assert answer(daemon, "held") == answer(daemon, "plain")


def test_the_request_wins(daemon: DaemonProcess) -> None:
    greedy = answer(daemon, "random", temperature=0, repetition_penalty=1)
    assert greedy == answer(daemon, "plain")
    drawn = {"temperature": 1.0, "seed": 5}
    assert answer(daemon, "held", **drawn) == answer(daemon, "plain", **drawn, top_k=50)


def test_show_tells_what_counts(daemon: DaemonProcess) -> None:
    shown = daemon.local.get("/control/v1/models/held").json()
    assert shown["sampling"]["temperature"] == 0
    assert shown["sampling"]["top_k"] == 50
    assert shown["own_sampling"]["temperature"] == 1.0
