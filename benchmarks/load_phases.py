"""Where the time of a load goes, in this process: `python benchmarks/load_phases.py MODEL`.

Prints, as JSON, the wall and processor seconds of each import and of each part of the load, done
one after the other; an engine does some of them at the same time.
"""

import importlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MODULES = (
    "mlxd.engine.channel",
    "mlx.core",
    "numpy",
    "transformers",
    "mlx_lm",
    "mlx_lm.server",
    "llguidance.hf",
    "mlxd.engine.serving",
)
_phases: dict[str, tuple[float, float]] = {}


@contextmanager
def _phase(name: str) -> Iterator[None]:
    wall, processor = time.perf_counter(), time.process_time()
    yield
    _phases[name] = time.perf_counter() - wall, time.process_time() - processor


def main() -> int:
    for module in _MODULES:
        with _phase(f"import {module}"):
            importlib.import_module(module)

    import mlx.core as mx
    from mlx_lm import utils

    path = Path(sys.argv[1])
    with _phase("model, without weights"):
        model, config = utils.load_model(path, lazy=True)
    with _phase("weights"):
        mx.eval(model.parameters())
    with _phase("tokenizer"):
        utils.load_tokenizer(path, eos_token_ids=config.get("eos_token_id"))
    for step in ("first step", "second step"):
        with _phase(step):
            mx.eval(model(mx.array([[1, 2, 3]])))
    json.dump(_phases, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
