"""Models for every test, tiny random ones and real ones, and a daemon that serves SmolLM2."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.demo_model import DEFAULT_CACHE, GEMMA3, SMOLLM2, DemoModel, fetch
from scripts.tiny_model import make_tiny_model
from tests.support.clock import Clock
from tests.support.daemon_process import DaemonProcess, shared_daemon
from tests.support.shared import made_once, shared_folder
from tests.support.temporary_folder import make_temporary_folder

REPOSITORY = Path(__file__).resolve().parent.parent
OPENBLAS = Path("/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3")


def pytest_configure(config: pytest.Config) -> None:
    """Give this run, with its workers, one folder for everything temporary but `tmp_path`."""
    if not hasattr(config, "workerinput"):
        folder = make_temporary_folder()
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_xdist_auto_num_workers() -> int:
    """Let `-n auto` mean two workers for each processor: most tests wait for other processes."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests, so that at the end no worker has a long file left."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def _no_hub_cache() -> Iterator[None]:
    """Keep the models of this machine's own Hugging Face cache out of the tests."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
            monkeypatch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _any_disk() -> Iterator[None]:
    """Let prompt caches be written on a disk that is nearly full."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MLXD_ENGINE__PROMPT_CACHE_KEEP_FREE", "0")
        yield


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves."""
    return Clock()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models directory of an empty home."""
    monkeypatch.setenv("MLXD_HOME", str(tmp_path))
    return tmp_path / "models"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty cache of Hugging Face's programs."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny random model."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def marked_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random model that has marks for thoughts and for tool calls."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "marked", marked=True)


@pytest.fixture(scope="session")
def smollm2_models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder that holds `smollm2-135m`, as `mlxctl import` makes it."""

    def make(models_dir: Path) -> None:
        import_demo_model(SMOLLM2, models_dir, "--name", "smollm2-135m")

    return made_once(tmp_path_factory, "imported", make)


@pytest.fixture(scope="session")
def smollm2(smollm2_models_dir: Path) -> Path:
    """The folder of SmolLM2-135M-Instruct, quantized to 4 bits as its GGUF file is."""
    return smollm2_models_dir / "smollm2-135m"


@pytest.fixture(scope="session")
def smollm2_float32(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> Path:
    """The folder of the same model in float32, whose prompts this processor reads faster."""

    def make(folder: Path) -> None:
        convert = [sys.executable, "-m", "mlx_lm", "convert", "--dequantize", "--dtype", "float32"]
        convert += ["--hf-path", str(smollm2), "--mlx-path", str(folder / smollm2.name)]
        subprocess.run(convert, check=True, capture_output=True)

    return made_once(tmp_path_factory, "float32", make) / smollm2.name


@pytest.fixture(scope="session")
def gemma3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of Gemma 3 270M in float32 (1.1 GB), a real model with sliding windows.

    It is no instruction-tuned model, and has no chat template.
    """

    def make(models_dir: Path) -> None:
        import_demo_model(GEMMA3, models_dir, "--name", "gemma3-270m", "--dtype", "float32")

    return made_once(tmp_path_factory, "gemma3", make) / "gemma3-270m"


def import_demo_model(model: DemoModel, models_dir: Path, *options: str) -> None:
    """Import a demo model into a models folder in a process, as `mlxctl import` does."""
    command = [sys.executable, "-m", "mlxd.gguf", str(fetch(DEFAULT_CACHE, model))]
    command += ["--into", str(models_dir), *options]
    subprocess.run(command, check=True, capture_output=True, cwd=REPOSITORY)


@pytest.fixture(scope="session")
def smollm2_daemon(
    tmp_path_factory: pytest.TempPathFactory, smollm2_float32: Path
) -> Iterator[DaemonProcess]:
    """A daemon whose default model is SmolLM2, for all tests that only ask it questions.

    Linux uses Debian's OpenBLAS if it is installed: with float32 weights it then reads prompts
    twenty times faster than with MLX's own kernels for this processor.
    """
    environ = {"MLXD_MODELS__DIRS": str(smollm2_float32)}
    if OPENBLAS.exists():
        environ["LD_PRELOAD"] = str(OPENBLAS)
    folder = shared_folder(tmp_path_factory, "smollm2-daemon")
    with shared_daemon(folder, "--model", smollm2_float32.name, **environ) as daemon:
        yield daemon
