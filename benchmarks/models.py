"""The models of a benchmark: a folder of the user's, or random ones that are made for the run."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mlxctl.errors import BenchmarkError

_ROOT = Path(__file__).resolve().parent.parent
_OPENBLAS = Path("/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3")
_CONTEXT = 32768


@dataclass(frozen=True)
class Model:
    """The model that all servers get. A `tiny` one never ends an answer; `small` ones are random.

    `context_length` is in tokens.
    """

    path: Path
    tiny: bool
    context_length: int
    quantized: bool
    small: bool

    @classmethod
    def read(cls, path: Path, *, tiny: bool = False, small: bool = False) -> "Model":
        """Read what the benchmark needs to know from the model's config.json."""
        config = json.loads((path / "config.json").read_text())
        return cls(
            path,
            tiny,
            config.get("max_position_embeddings", 4096),
            "quantization" in config,
            small or tiny,
        )

    def environment(self) -> dict[str, str]:
        """Return the environment of every process that runs the model, the same for all servers.

        Only Linux has a say: a CPU build of MLX is slow with its own BLAS, and a small model with
        more than one BLAS thread.
        """
        environment = dict(os.environ)
        if self.small:
            environment["OPENBLAS_NUM_THREADS"] = "1"
        if sys.platform == "linux" and not self.quantized and _OPENBLAS.exists():
            environment["LD_PRELOAD"] = str(_OPENBLAS)
        return environment


def prepare_model(name: str, folder: Path) -> Model:
    """Return the model in the folder `name`; for `tiny`, make the random one in `folder`.

    Raises:
        BenchmarkError: there is no model.
    """
    if name != "tiny":
        try:
            return Model.read(Path(name).resolve())
        except (OSError, ValueError) as error:
            raise BenchmarkError(f"{name} is no model folder: {error}") from error
    path = folder / "tiny"
    _run("tiny_model.py", str(path), "--context", str(_CONTEXT))
    return Model.read(path, tiny=True)


def random_model(architecture: str, folder: Path, changes: dict[str, object]) -> Model:
    """Make a random model of an architecture in `folder`, unless it is there; return it.

    `changes` are keys of its configuration with other values.

    Raises:
        BenchmarkError: it cannot be made.
    """
    path = folder / "-".join([architecture, *map(str, changes.values())])
    if not path.exists():
        sets = [f"--set={key}={json.dumps(value)}" for key, value in changes.items()]
        _run("random_model.py", str(path), architecture, "--context", str(_CONTEXT), *sets)
    return Model.read(path, small=True)


def architectures() -> list[str]:
    """Return the names of all architectures that `random_model` can make."""
    return sorted(json.loads((_ROOT / "tests" / "architectures.json").read_text()))


def _run(script: str, *arguments: str) -> None:
    command = [sys.executable, str(_ROOT / "scripts" / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"{script} {' '.join(arguments)}: {done.stderr.strip()[-300:]}")
