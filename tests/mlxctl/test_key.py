"""`mlxctl key`, which needs no daemon."""

import json
import stat
import time
from pathlib import Path

import pytest

from mlxd import keys, paths
from mlxd.http.key_ring import KeyRing
from tests.mlxctl.conftest import Run
from tests.support.fake_daemon import FakeDaemon


def test_a_key_is_shown_once_and_kept_as_a_hash(home: Path, mlxctl: Run) -> None:
    created = mlxctl("key", "create", "laptop")
    text = created.stdout.strip()
    assert text.startswith("mlxd-")
    assert created.stderr == "mlxctl: keep this key; it is not shown again.\n"
    assert KeyRing(paths.keys_file(), paths.key_uses_file()).find(text.encode()) is not None
    for file in home.rglob("*"):
        assert not file.is_file() or text not in file.read_text()
    assert stat.S_IMODE((home / "keys.json").stat().st_mode) == 0o600
    assert text not in mlxctl("key").stdout


def test_a_model_that_is_not_there_is_remarked(mlxctl: Run, daemon: FakeDaemon) -> None:
    tiny = {"id": "acme/tiny", "path": "/m", "size_bytes": 1, "architecture": "llama"}
    daemon.answers(("GET", "/control/v1/models"), {"models": [tiny], "broken": []})
    created = mlxctl("key", "create", "guest", "-m", "acme/tiny", "-m", "tiny", "-m", "acme/*")
    assert created.stderr.splitlines() == [
        "mlxctl: no model has the ID 'tiny' now; mlxctl list shows the IDs",
        "mlxctl: keep this key; it is not shown again.",
    ]


def test_what_a_key_may_do_is_listed(home: Path, mlxctl: Run) -> None:
    words = "create guest --may pull --may ask -m tiny -m mlx-community/* --expires 90d"
    more = ("--requests-per-minute", "20", "--queued", "0")
    assert "--queued counts only where" in mlxctl("key", *words.split(), *more).stderr
    mlxctl("key", "create", "plain")
    (key,) = [each for each in keys.read(home / "keys.json") or [] if each.name == "guest"]
    paths.key_uses_file().parent.mkdir()
    paths.key_uses_file().write_text(json.dumps({key.digest: time.time() - 130}))
    lines = mlxctl("key", "list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "MAY", "MODELS", "LIMITS", "CREATED", "EXPIRES", "USED"]
    assert "ask, pull  tiny, mlx-community/*  0 queued, 20 requests/min" in lines[1]
    assert "in 89 d 23 h" in lines[1]
    assert lines[1].endswith("2 min 10 s ago")
    assert lines[2].split()[:3] == ["plain", "ask", "all"]
    assert "usual" in lines[2]
    assert lines[2].endswith("never")
    listed = json.loads(mlxctl("key", "list", "--json").stdout)["keys"][0]
    assert listed["limits"] == {"requests_per_minute": 20, "queued": 0}
    assert "digest" not in listed


def test_a_revoked_key_is_refused_and_so_are_clients_without_a_key_after_the_last_one(
    home: Path, mlxctl: Run
) -> None:
    for name in ("one", "two"):
        mlxctl("key", "create", name)
    assert mlxctl("key", "revoke", "one").stdout == "revoked one\n"
    assert "TCP clients still need one" in mlxctl("key", "revoke", "two").stdout
    assert KeyRing(paths.keys_file(), paths.key_uses_file()).needed


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("create laptop", 1, "there is a key 'laptop'"),
        ("create two words", 2, "Got unexpected extra argument"),
        ("create a/b", 2, "up to 64 letters"),
        ("create other --may fly", 2, "'fly' is not one of"),
        ("create other --expires soon", 2, '"90d"'),
        ("revoke nobody", 1, "there is no key 'nobody'; the keys are laptop"),
    ],
)
def test_mistakes(home: Path, mlxctl: Run, words: str, status: int, said: str) -> None:
    mlxctl("key", "create", "laptop")
    done = mlxctl("key", *words.split())
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr


def test_a_damaged_file_is_named(home: Path, mlxctl: Run) -> None:
    (home / "keys.json").write_text("{")
    assert "keys.json is damaged" in mlxctl("key", "list").stderr
