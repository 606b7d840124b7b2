"""`mlxctl list`, `show`, `rm`, `import` and `alias`."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.mlxctl.conftest import DEADLINE, Run, command
from tests.support.fake_daemon import FakeDaemon
from tests.support.gguf_files import write_model

MODELS = ("GET", "/control/v1/models")
PULLS = ("GET", "/control/v1/pulls")


def model(model_id: str, **fields: object) -> dict[str, object]:
    usual = {
        "path": f"/m/{model_id}",
        "origin": "models directory",
        "size_bytes": 117_000_000,
        "architecture": "llama",
        "quantization": "4-bit",
        "context_length": 2048,
        "state": "unloaded",
        "default": False,
    }
    return {"id": model_id, **usual, **fields}


def test_list_shows_each_model_and_marks_the_default(daemon: FakeDaemon, mlxctl: Run) -> None:
    small = model("smollm2-135m", default=True, state="ready")
    other = model("b", quantization=None, context_length=None)
    daemon.answers(MODELS, {"models": [other, small]})
    assert mlxctl("list").stdout.splitlines() == [
        "MODEL                   SIZE    QUANT  CONTEXT  STATE",
        "b                       117 MB  -      -        unloaded",
        "smollm2-135m (default)  117 MB  4-bit  2048     ready",
    ]
    assert json.loads(mlxctl("list", "--json").stdout) == {
        "models": [other, small],
        "broken": [],
        "pulls": [],
    }


def test_list_separates_read_only_and_broken_models(daemon: FakeDaemon, mlxctl: Run) -> None:
    broken = {"id": "cut", "path": "/m/cut", "origin": "models directory", "size_bytes": 5}
    daemon.answers(
        MODELS,
        {
            "models": [model("owner/a", origin="hub cache"), model("own")],
            "broken": [{**broken, "fault": "partial: model.safetensors is missing"}],
        },
    )
    assert mlxctl("list").stdout.splitlines() == [
        "MODEL    SIZE    QUANT  CONTEXT  STATE",
        "own      117 MB  4-bit  2048     unloaded",
        "",
        "in the Hugging Face cache (read-only):",
        "owner/a  117 MB  4-bit  2048     unloaded",
        "",
        "broken:",
        "cut  5 B  partial: model.safetensors is missing",
    ]
    daemon.answers(MODELS, {"models": [model("owner/a", origin="hub cache")]})
    assert mlxctl("list").stdout.splitlines() == [
        "MODEL    SIZE    QUANT  CONTEXT  STATE",
        "in the Hugging Face cache (read-only):",
        "owner/a  117 MB  4-bit  2048     unloaded",
    ]


def test_list_shows_downloads(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(MODELS, {"models": [model("own")]})
    coming = {"model": "acme/b", "revision": "main", "state": "downloading"}
    coming |= {"bytes_done": 40_000_000, "bytes_total": 117_000_000}
    failed = {"model": "acme/c", "revision": "main", "state": "failed", "cause": "the disk is full"}
    daemon.answers(PULLS, {"pulls": [coming, failed]})
    assert mlxctl("list").stdout.splitlines()[2:] == [
        "",
        "downloads (see mlxctl pull):",
        "MODEL   STATE        DONE   TOTAL   SPEED",
        "acme/b  downloading  40 MB  117 MB  -",
        "acme/c  failed       0 B    -       -",
        "  the disk is full",
    ]
    assert [each["model"] for each in json.loads(mlxctl("list", "--json").stdout)["pulls"]] == [
        "acme/b",
        "acme/c",
    ]


def test_a_usual_list_fits_a_terminal(daemon: FakeDaemon, mlxctl: Run) -> None:
    usual = model("mlx-community/Qwen3-4B-Instruct-2507-4bit", context_length=262144)
    daemon.answers(MODELS, {"models": [usual]})
    assert max(map(len, mlxctl("list").stdout.splitlines())) <= 80


def test_an_empty_list_explains_how_to_get_a_model(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(MODELS, {"models": []})
    assert "mlxctl import FILE.gguf" in mlxctl("list").stdout


SHOWN = {
    "id": "owner/a",
    "path": "/m/owner/a",
    "origin": "models.dirs",
    "size_bytes": 1_800_000_000,
    "created": 1_700_000_000,
    "aliases": ["x", "y"],
    "state": "ready",
    "default": True,
    "architecture": "llama",
    "parameters": 3_210_000_000,
    "quantization": "4-bit",
    "context_length": 131072,
    "memory_bytes": 2_034_881_024,
    "cache_bytes": 234_881_024,
    "cached_tokens": 2048,
    "token_bytes": 114_688,
    "context_fits": 54_321,
    "batched": False,
    "kv_bits": 8,
    "template": {"tools": True, "thinking": False},
    "license": "llama3.2",
    "sampling": {
        "temperature": 0.6,
        "top_p": 0.95,
        "repetition_context_size": 0,
        "max_tokens": 512,
    },
    "own_sampling": {"temperature": 0.6, "top_p": 0.95},
    "adapters": ["pirate"],
}


def test_show_prints_what_is_known(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(("GET", "/control/v1/models/a%20b/c"), SHOWN)
    done = mlxctl("show", "a b/c", TZ="UTC")
    assert done.stdout.splitlines() == [
        "owner/a (default)",
        "",
        "architecture  llama",
        "parameters    3.2 billion",
        "quantization  4-bit",
        "context       131,072 tokens; about 54,000 fit under models.memory_limit",
        "batching      no: one request at a time",
        "caches        quantized to 8 bits",
        "template      yes, with tools",
        "sampling      temperature 0.6, top_p 0.95, max_tokens 512 (configured)",
        "license       llama3.2",
        "state         ready",
        "memory        about 2.0 GB with 2,048 tokens of context, 115 MB per 1,000 more",
        "aliases       x, y",
        "adapters      pirate",
        "size          1.8 GB",
        "changed       2023-11-14 22:13",
        "path          /m/owner/a",
        "              in a folder of models.dirs (read-only)",
    ]
    daemon.answers(("GET", "/control/v1/models/x"), SHOWN)
    assert json.loads(mlxctl("show", "--json", "x").stdout) == {**SHOWN, "fault": None}


@pytest.mark.parametrize(
    ("length", "fits", "said"),
    [
        (131_072, None, "131,072 tokens"),
        (131_072, 131_072, "131,072 tokens, which fit in memory"),
        (1_048_576, 999_999, "1,048,576 tokens; about 990,000 fit under models.memory_limit"),
        (131_072, 7, "131,072 tokens; about 7 fit under models.memory_limit"),
        (131_072, 0, "131,072 tokens; none fit under models.memory_limit"),
    ],
)
def test_show_says_how_much_context_fits(
    daemon: FakeDaemon, mlxctl: Run, length: int, fits: int | None, said: str
) -> None:
    route = ("GET", "/control/v1/models/x")
    daemon.answers(route, SHOWN | {"context_length": length, "context_fits": fits})
    shown = mlxctl("show", "x").stdout.splitlines()
    assert f"context       {said}" in shown
    assert max(map(len, shown)) <= 80


def test_show_says_why_a_model_is_broken(daemon: FakeDaemon, mlxctl: Run) -> None:
    of_each = ("id", "path", "size_bytes", "created")
    broken = {key: SHOWN[key] for key in of_each} | {"fault": "partial", "origin": "hub cache"}
    daemon.answers(("GET", "/control/v1/models/a"), broken)
    assert mlxctl("show", "a", TZ="UTC").stdout.splitlines() == [
        "owner/a",
        "",
        "broken   partial",
        "size     1.8 GB",
        "changed  2023-11-14 22:13",
        "path     /m/owner/a",
        "         in the Hugging Face cache (read-only)",
    ]


REMOVED = {"id": "owner/a", "path": "/m/owner/a", "size_bytes": 1_800_000_000}
WOULD = ("DELETE", "/control/v1/models/a?dry_run=true")
REMOVE = ("DELETE", "/control/v1/models/owner/a")


def test_rm_prints_what_it_deleted_and_what_depends_on_it(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(WOULD, {**REMOVED, "default": True, "aliases": ["x"]})
    daemon.answers(REMOVE, REMOVED)
    done = mlxctl("rm", "--yes", "a")
    assert done.stdout == "deleted owner/a, /m/owner/a (1.8 GB)\n"
    assert done.stderr.splitlines() == [
        "mlxctl: it was the default model; to set another: mlxctl use MODEL",
        "mlxctl: the alias x has no model now; to remove it: mlxctl alias --rm x",
    ]
    daemon.answers(WOULD, {**REMOVED, "link": True})
    assert mlxctl("rm", "-y", "a").stdout == "deleted owner/a, the link /m/owner/a\n"
    assert json.loads(mlxctl("rm", "-y", "a", "--json").stdout)["path"] == "/m/owner/a"


def test_rm_deletes_nothing_without_a_terminal_to_ask_on(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(WOULD, REMOVED)
    done = mlxctl("rm", "a")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "mlxctl: cannot ask for confirmation without a terminal; to delete it: "
        "mlxctl rm --yes owner/a\n"
    )
    assert daemon.deleted == [WOULD[1]]


@pytest.mark.parametrize(("answer", "status"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1), (b"\x04", 1)])
def test_rm_asks_on_a_terminal(daemon: FakeDaemon, answer: bytes, status: int) -> None:
    daemon.answers(WOULD, REMOVED)
    daemon.answers(REMOVE, REMOVED)
    ours, terminal = os.openpty()
    try:
        os.write(ours, answer)
        done = subprocess.run(
            command("rm", "a"), stdin=terminal, capture_output=True, text=True, timeout=DEADLINE
        )
    finally:
        os.close(ours)
        os.close(terminal)
    assert "delete owner/a, /m/owner/a (1.8 GB)? [y/N]: " in done.stderr
    assert done.returncode == status
    assert daemon.deleted == ([WOULD[1]] if status else [WOULD[1], REMOVE[1]])
    assert ("nothing was deleted" in done.stderr) == (answer != b"\x04" and bool(status))


def test_rm_prints_why_the_daemon_refuses(daemon: FakeDaemon, mlxctl: Run) -> None:
    error = {"error": {"message": "a is in memory; unload it first: mlxctl unload a"}}
    daemon.answers(WOULD, error, status=409)
    done = mlxctl("rm", "--yes", "a")
    assert (done.returncode, done.stderr) == (
        1,
        "mlxctl: a is in memory; unload it first: mlxctl unload a\n",
    )


def test_import_makes_a_model_without_a_daemon(home: Path, mlxctl: Run) -> None:
    file = write_model(home / "-small.gguf", "llama")
    done = mlxctl("import", "--name", "mine", "--dtype", "float32", "--", file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mine: float32, ")
    assert (home / "models" / "mine" / "config.json").is_file()


def test_import_exits_with_the_status_of_the_importer(home: Path, mlxctl: Run) -> None:
    done = mlxctl("import", home / "absent.gguf")
    assert done.returncode == 1
    assert done.stderr.startswith("mlxctl import: ")
    assert mlxctl("import", "x.gguf", "--dtype", "float64").returncode == 2


ALIASES = ("GET", "/control/v1/aliases")


def test_aliases_are_listed(daemon: FakeDaemon, mlxctl: Run) -> None:
    aliases = [
        {"name": "gpt-4", "model": "owner/a", "exists": True},
        {"name": "old", "model": "b", "exists": False},
    ]
    daemon.answers(ALIASES, {"aliases": aliases})
    assert mlxctl("alias").stdout.splitlines() == [
        "ALIAS  MODEL",
        "gpt-4  owner/a",
        "old    b (no such model)",
    ]
    assert json.loads(mlxctl("alias", "--json").stdout)["aliases"] == aliases
    daemon.answers(ALIASES, {"aliases": []})
    assert "mlxctl alias NAME MODEL" in mlxctl("alias").stdout


def test_an_alias_is_made(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(("POST", "/control/v1/aliases"), {"name": "gpt-4", "model": "owner/a"})
    assert mlxctl("alias", "gpt-4", "a").stdout == "gpt-4 is now an alias for owner/a\n"
    assert daemon.bodies == [{"name": "gpt-4", "model": "a", "exists": True}]
    assert json.loads(mlxctl("alias", "gpt-4", "a", "--json").stdout)["model"] == "owner/a"


def test_an_alias_is_removed(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(("DELETE", "/control/v1/aliases/a/b"), {"name": "a/b"})
    assert mlxctl("alias", "--rm", "a/b").stdout == "removed the alias a/b\n"
    daemon.answers(("DELETE", "/control/v1/aliases/x"), {"name": "x", "now": "c"})
    assert (
        mlxctl("alias", "--rm", "x").stdout == "x is an alias for c again, as set in config.toml\n"
    )
    assert json.loads(mlxctl("alias", "--rm", "x", "--json").stdout) == {"name": "x", "now": "c"}


@pytest.mark.parametrize("arguments", [("x",), ("x", ""), ("--rm", "x", "y"), ("--rm",)])
def test_half_an_alias_is_invalid_usage(
    daemon: FakeDaemon, mlxctl: Run, arguments: tuple[str, ...]
) -> None:
    assert mlxctl("alias", *arguments).returncode == 2
    assert daemon.bodies == daemon.deleted == []
