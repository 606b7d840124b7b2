"""Other servers for MLX, each in an environment of its own under `.cache/peers`, made once."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import servers
from models import Model

from mlxctl.errors import BenchmarkError

_CACHE = Path(__file__).resolve().parent.parent / ".cache" / "peers"
_INSTALLED = ".installed"
_PACKAGES_ON_LINUX = ["mlx[cpu]"]  # plain mlx brings no backend there


def _vllm_mlx(bin_folder: Path, model: str, port: str) -> list[str]:
    command = [str(bin_folder / "vllm-mlx"), "serve", model, "--host", "127.0.0.1", "--port", port]
    return [*command, "--served-model-name", "default_model", "--continuous-batching"]


def _rapid_mlx(bin_folder: Path, model: str, port: str) -> list[str]:
    command = [str(bin_folder / "rapid-mlx"), "serve", model, "--host", "127.0.0.1", "--port", port]
    return [*command, "--served-model-name", "default_model"]


PEERS: dict[str, Callable[[Path, str, str], list[str]]] = {
    "vllm-mlx": _vllm_mlx,
    "rapid-mlx": _rapid_mlx,
}
"""The command that serves a model's folder at a port, by the name of the package."""


def install(name: str) -> Path:
    """Install the peer `name` unless it is installed; return the `bin` folder of its environment.

    Raises:
        BenchmarkError: it does not install; the next run tries again.
    """
    folder = _CACHE / name
    if not (folder / _INSTALLED).exists():
        packages = [name, *(_PACKAGES_ON_LINUX if sys.platform == "linux" else [])]
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages],
            [str(folder / "bin" / "python"), "-m", "compileall", "-qq", str(folder / "lib")],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode and "compileall" not in command:  # some packages do not compile
                lines = done.stderr.strip().splitlines() or ["no output"]
                raise BenchmarkError(f"does not install: {lines[-1]}")
        (folder / _INSTALLED).touch()
    return folder / "bin"


@contextlib.contextmanager
def start(name: str, bin_folder: Path, model: Model) -> Iterator[servers.Server]:
    """Start an installed peer with a home of its own, so that it finds no cache of an earlier run.

    Raises:
        BenchmarkError: it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="mb-") as home:
        environment = model.environment() | {
            "HOME": home,
            "HF_HUB_OFFLINE": "1",
            "DO_NOT_TRACK": "1",
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        }
        for key in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            environment.pop(key, None)
        command = PEERS[name]
        path = str(model.path)
        with servers.serve(lambda port: command(bin_folder, path, port), environment) as server:
            yield server


def versions(name: str) -> str:
    """Return the installed versions of a peer and of the MLX packages it runs on, in one line."""
    script = (
        "import importlib.metadata as m; "
        f"print(', '.join(f'{{n}} {{m.version(n)}}' for n in ({name!r}, 'mlx', 'mlx-lm')))"
    )
    python = _CACHE / name / "bin" / "python"
    done = subprocess.run([str(python), "-c", script], capture_output=True, text=True)
    return done.stdout.strip() or "not installed"
