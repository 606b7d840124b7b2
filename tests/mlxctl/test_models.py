"""`mlxctl list` and `import`."""

import json
from pathlib import Path

from tests.engine.gguf_files import write_model
from tests.mlxctl.conftest import Run
from tests.mlxctl.fake_daemon import FakeDaemon

MODELS = ("GET", "/control/v1/models")


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
