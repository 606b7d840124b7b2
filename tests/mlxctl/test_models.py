"""`mlxctl list`, `use` and `import`."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.engine.gguf_files import write_model
from tests.mlxctl.conftest import Run, command
from tests.mlxctl.fake_daemon import FakeDaemon

MODELS = ("GET", "/control/v1/models")
USE = ("POST", "/control/v1/use")


def test_list_shows_each_model_and_marks_the_default(daemon: FakeDaemon, mlxctl: Run) -> None:
    small = {
        "id": "smollm2-135m",
        "path": "/m/smollm2-135m",
        "size_bytes": 117_000_000,
        "architecture": "llama",
        "quantization": "4-bit",
        "context_length": 2048,
        "state": "ready",
        "default": True,
    }
    other = {**small, "id": "b", "quantization": None, "context_length": None, "default": False}
    daemon.answers(MODELS, {"models": [small, other]})
    assert mlxctl("list").stdout.splitlines() == [
        "MODEL                   SIZE    QUANTISATION  CONTEXT  STATE",
        "smollm2-135m (default)  117 MB  4-bit         2048     ready",
        "b                       117 MB  none          -        ready",
    ]
    assert json.loads(mlxctl("list", "--json").stdout)["models"] == [small, other]


def test_an_empty_list_tells_how_to_get_a_model(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(MODELS, {"models": []})
    assert "mlxctl import FILE.gguf" in mlxctl("list").stdout


def test_use_says_what_the_default_is(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(USE, {"model": "tiny", "state": "ready"})
    assert mlxctl("use", "alias").stdout == "tiny is the default model now\n"
    daemon.answers(USE, {"model": "tiny", "state": "loading"})
    assert mlxctl("use", "tiny").stdout == "tiny is the default model now, and is being loaded\n"
    daemon.answers(USE, {"model": "tiny", "state": "ready", "overridden_by": "--model"})
    assert mlxctl("use", "tiny").stderr == "mlxctl: --model will win over it at the next start\n"


@pytest.mark.parametrize(("name", "fault"), [(b"", b"empty"), (b"caf\xe9", b"not UTF-8")])
def test_use_refuses_what_names_no_model(daemon: FakeDaemon, name: bytes, fault: bytes) -> None:
    done = subprocess.run([*command("use"), name], capture_output=True)
    assert done.returncode == 2
    assert fault in done.stderr


def test_import_makes_a_model_without_a_daemon(home: Path, mlxctl: Run) -> None:
    file = write_model(home / "-small.gguf", "llama")
    done = mlxctl("import", "--name", "mine", "--dtype", "float32", "--", file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mine: float32, ")
    assert (home / "models" / "mine" / "config.json").is_file()


def test_import_ends_as_the_importer_does(home: Path, mlxctl: Run) -> None:
    done = mlxctl("import", home / "absent.gguf")
    assert done.returncode == 1
    assert done.stderr.startswith("mlxctl import: ")
    assert mlxctl("import", "x.gguf", "--dtype", "float64").returncode == 2
