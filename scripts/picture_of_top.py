"""The picture of `mlxctl top`, while four callers talk to two tiny random models."""

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import openai
from rich.console import Console

from mlxctl.top.drawing import draw
from mlxctl.top.overview import Overview
from scripts.tiny_model import make_tiny_model

_MODELS = ("tiny", "tiny-chat")
_CALLERS = ("laptop", "phone", "editor", "agent")
_SECONDS = 130.0
_TURNS = 4
_WIDTH, _HEIGHT = 100, 30
_SYSTEM = "You answer briefly, and you never invent what you do not know. " * 8
_QUESTION = "Explain how a daemon differs from a command."
# A picture in a README may load nothing, and a browser has a font of its own.
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def save(file: Path) -> None:
    """Write the picture as SVG: the last two minutes of a daemon with a few callers."""
    with _daemon() as url:
        keys = [_mlxctl("key", "create", name).split()[-1] for name in _CALLERS]
        end = threading.Event()
        talks = [
            threading.Thread(target=_talk, args=(f"{url}/v1", key, number, end))
            for number, key in enumerate(keys)
        ]
        for talk in talks:
            talk.start()
        end.wait(_SECONDS)
        overview = msgspec.json.decode(_mlxctl("top", "--json"), type=Overview)
        end.set()
        for talk in talks:
            talk.join()
    overview.status.url = "http://127.0.0.1:8080"  # as it is unless told otherwise
    console = Console(record=True, width=_WIDTH, height=_HEIGHT, file=io.StringIO())
    for line in draw(overview, _WIDTH, _HEIGHT):
        console.print(line, no_wrap=True)
    file.write_text(_FONTS.sub("", console.export_svg(title="mlxctl top")), encoding="utf-8")


@contextmanager
def _daemon() -> Iterator[str]:
    """Run a daemon with the models in a home of its own, and yield its URL."""
    with tempfile.TemporaryDirectory(prefix="mlxd", dir="/tmp") as home:
        for seed, name in enumerate(_MODELS):
            make_tiny_model(Path(home) / "models" / name, seed=seed)
        os.environ |= {"MLXD_HOME": home, "MLXD_SERVER__PORT": "0"}
        _mlxctl("start")
        try:
            _mlxctl("use", _MODELS[0])
            yield json.loads(_mlxctl("status", "--json"))["url"]
        finally:
            _mlxctl("stop")


def _talk(url: str, key: str, number: int, end: threading.Event) -> None:
    """Have conversations of a few turns, each caller at a pace of its own."""
    client = openai.OpenAI(base_url=url, api_key=key)
    model = _MODELS[number // 2]
    while not end.is_set():
        messages: list[dict[str, str]] = [{"role": "system", "content": _SYSTEM}]
        for turn in range(_TURNS):
            messages.append({"role": "user", "content": f"{_QUESTION} {turn}"})
            stream = client.chat.completions.create(
                model=model, messages=messages, max_tokens=150 + 100 * turn, stream=True
            )
            pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
            messages.append({"role": "assistant", "content": "".join(pieces)})
            if end.wait(1.0 + number):
                return


def _mlxctl(*words: str) -> str:
    command = [sys.executable, "-m", "mlxctl", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
