"""Make the pictures of the page, in light and dark, from a real run with the tiny random model.

It needs Chromium, and takes two minutes: the plots show as much.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from scripts.browser import browser
from scripts.tiny_model import make_tiny_model

ROOT = Path(__file__).resolve().parent.parent
_SECONDS = 75.0
_CALLERS = 3
_QUESTIONS = (
    "What is the capital of France?",
    "Name three rivers of Europe.",
    "Write a sentence about the sea.",
    "Why is the sky blue?",
)
_SYSTEM = "You are a friendly assistant. Answer in plain words, and briefly. " * 8


def save(file: Path) -> None:
    """Write the picture into `file`, a PNG, and that in dark into NAME-dark.png beside it."""
    with _daemon() as (url, address), browser() as tab:
        tab.look(height=900)
        tab.open(address)
        with ThreadPoolExecutor(_CALLERS) as callers:
            for caller in range(_CALLERS):
                callers.submit(_ask, url, caller)
            time.sleep(_SECONDS)
            tab.click("2 min")
            for dark in (False, True):
                tab.look(height=900, dark=dark)
                tab.picture(file.with_stem(f"{file.stem}-dark") if dark else file)


def _ask(url: str, caller: int) -> None:
    """Ask one question after another, at a pace of one's own."""
    end = time.monotonic() + _SECONDS + 10
    for number in range(1000):
        if time.monotonic() > end:
            return
        question = _QUESTIONS[(caller + number) % len(_QUESTIONS)]
        roles = {"system": _SYSTEM, "user": question}
        body = {
            "messages": [{"role": role, "content": text} for role, text in roles.items()],
            "max_tokens": 200 + 400 * ((caller + number) % 3),
        }
        headers = {"content-type": "application/json"}
        asked = urllib.request.Request(
            f"{url}/v1/chat/completions", json.dumps(body).encode(), headers
        )
        with urllib.request.urlopen(asked) as reply:
            reply.read()
        time.sleep(caller / 2)


@contextmanager
def _daemon() -> Iterator[tuple[str, str]]:
    """Run a daemon with the model; give its address, and that of the page with a token."""
    with tempfile.TemporaryDirectory(prefix="mlxd") as home:
        environ = {**os.environ, "MLXD_HOME": home, "MLXD_SERVER__PORT": "0"}
        make_tiny_model(Path(home) / "models" / "tiny")
        command = [sys.executable, "-m", "mlxd", "--model", "tiny"]
        with subprocess.Popen(command, env=environ, cwd=ROOT) as daemon:
            try:
                address = _address(environ)
                yield address.partition("/#")[0], address
            finally:
                daemon.terminate()


def _address(environ: dict[str, str]) -> str:
    """Return what `mlxctl open --print` prints, once the daemon listens."""
    command = [sys.executable, "-m", "mlxctl", "open", "--print"]
    for _ in range(100):
        done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip()
        time.sleep(0.2)
    raise TimeoutError(done.stderr)
