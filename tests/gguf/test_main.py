"""`python -m mlxd.gguf`, as `mlxctl import` runs it."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.demo_model import DEFAULT_CACHE, fetch
from tests.support.gguf_files import write_model

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "mlxd.gguf"]


def run(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    environment = {**os.environ, **environ}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_result_is_one_line(tmp_path: Path) -> None:
    file = write_model(tmp_path / "small.gguf", "llama")

    done = run(file, "--into", tmp_path / "models", "--name", "mine", "--dtype", "float16")

    assert done.returncode == 0
    assert done.stdout == f"mine: float16, 0 MB, {tmp_path / 'models' / 'mine'}\n"


def test_an_error_is_one_line(tmp_path: Path) -> None:
    absent = tmp_path / "absent.gguf"

    done = run(absent, "--into", tmp_path / "models")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"mlxctl import: cannot read {absent}: No such file or directory\n"


def test_wrong_usage_exits_with_2(tmp_path: Path) -> None:
    done = run("model.gguf", "--into", tmp_path, "--dtype", "float64")

    assert done.returncode == 2
    assert "mlxctl import: error: argument --dtype: invalid choice: 'float64'" in done.stderr


def test_a_missing_package_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlx.py").write_text("raise ImportError('no libmlx here')")

    done = run("model.gguf", "--into", tmp_path, PYTHONPATH=str(tmp_path))

    assert done.returncode == 1
    assert done.stderr == ("mlxctl import: a required package cannot be imported: no libmlx here\n")


@pytest.mark.parametrize("name", ["default_model", "-x", "a/b", "caf\u00e9", "a" * 201, "a" * 5000])
def test_an_invalid_name_is_refused(tmp_path: Path, name: str) -> None:
    done = run("model.gguf", "--into", tmp_path, f"--name={name}")

    assert done.returncode == 1
    assert done.stderr.startswith(f"mlxctl import: {name[:40]!r}"[:-1])
    assert "choose another with --name" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_write_that_fails_is_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    file = write_model(tmp_path / "small.gguf", "llama")
    command = [*COMMAND, str(file), "--into", str(tmp_path / "models")]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
    )

    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"mlxctl import: cannot write {tmp_path / 'models' / 'small'}: ")
    assert list((tmp_path / "models").iterdir()) == []


def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    command = [*COMMAND, str(fetch(DEFAULT_CACHE)), "--into", str(models_dir), "--dtype", "float16"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not list(models_dir.glob(".import-*")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM

    assert list(models_dir.iterdir()) == []
