"""`mlxctl cache`: the prompt cache on disk."""

import json
import time

import pytest

from tests.mlxctl.conftest import Run
from tests.support.fake_daemon import FakeDaemon

CACHE = ("GET", "/control/v1/cache")
CLEAR = ("DELETE", "/control/v1/cache")
CLEAR_MODEL = ("DELETE", "/control/v1/cache/owner/a")
EMPTY = {
    "folder": "/c/prompts",
    "limit_bytes": 10_000_000_000,
    "size_bytes": 0,
    "models": [],
}


def cached(model: str | None, **fields: object) -> dict[str, object]:
    usual = {
        "fingerprint": "0123456789abcdef" * 2,
        "adapter": None,
        "files": 24,
        "tokens": 6144,
        "size_bytes": 283_000_000,
        "last_used": time.time() - 7500,
    }
    return {"model": model, **usual, **fields}


@pytest.mark.parametrize("words", [["cache"], ["cache", "show"]])
def test_show(daemon: FakeDaemon, mlxctl: Run, words: list[str]) -> None:
    models = [cached("smollm2-135m"), cached(None, adapter="pirate", tokens=5, size_bytes=700)]
    daemon.answers(CACHE, EMPTY | {"models": models, "size_bytes": 283_000_700})
    assert mlxctl(*words).stdout.splitlines() == [
        "MODEL         ADAPTER  TOKENS  SIZE    USED           FINGERPRINT",
        "smollm2-135m  -        6144    283 MB  2 h 5 min ago  01234567",
        "unknown       pirate   5       700 B   2 h 5 min ago  01234567",
        "",
        "283 MB (at most 10 GB) in /c/prompts",
    ]


def test_show_as_json(daemon: FakeDaemon, mlxctl: Run) -> None:
    reply = EMPTY | {"models": [cached("a")]}
    daemon.answers(CACHE, reply)
    assert json.loads(mlxctl("cache", "show", "--json").stdout) == reply


def test_an_empty_cache_and_one_that_is_off(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(CACHE, EMPTY)
    assert mlxctl("cache").stdout == "0 B (at most 10 GB) in /c/prompts\n"
    daemon.answers(CACHE, EMPTY | {"limit_bytes": 0})
    assert mlxctl("cache").stdout == "0 B (turned off) in /c/prompts\n"


def test_clear(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(CLEAR, {"files": 24, "size_bytes": 283_000_000})
    daemon.answers(CLEAR_MODEL, {"files": 0, "size_bytes": 0})
    assert mlxctl("cache", "clear").stdout == "removed 283 MB\n"
    assert mlxctl("cache", "clear", "owner/a").stdout == "nothing was cached\n"
    done = mlxctl("cache", "clear", "owner/a", "--json")
    assert json.loads(done.stdout) == {"files": 0, "size_bytes": 0}
    assert daemon.deleted == ["/control/v1/cache", *["/control/v1/cache/owner/a"] * 2]


def test_no_daemon_and_wrong_usage(mlxctl: Run) -> None:
    assert mlxctl("cache").returncode == 3
    assert mlxctl("cache", "nonsense").returncode == 2
