"""Make the pictures of the README, each from a real run on this machine: docs/images.

    python -m scripts.pictures [NAME ...]

Without a NAME it makes all of them. They differ from run to run.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from scripts import picture_of_page, picture_of_top

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
_BENCHMARKS = ROOT / "benchmarks"


def bench(file: Path) -> None:
    """Plot `mlxctl bench` beside `mlx_lm server`, with the tiny random model."""
    sys.path.insert(0, str(_BENCHMARKS))  # its modules import each other as neighbours
    import models
    import servers

    from mlxctl.bench.figures import BenchReport
    from mlxctl.bench.plot import save

    with tempfile.TemporaryDirectory() as folder:
        model = models.prepare_model("tiny", Path(folder))
        with servers.mlxd(model) as daemon, servers.mlx_lm_server(model) as other:
            name = f"127.0.0.1:{other.port}"
            words = ("bench", "--json", "--against", f"http://{name}")
            printed = daemon.mlxctl(*words, "--against-model", "default_model")
    report = msgspec.json.decode(printed.replace(name, "mlx_lm server"), type=BenchReport)
    save(report, file)


PICTURES: dict[str, Callable[[Path], None]] = {
    "bench.svg": bench,
    "page.png": picture_of_page.save,
    "top.svg": picture_of_top.save,
}
"""What makes each file of docs/images."""


def main(names: list[str]) -> int:
    """Make the pictures called `names`, or all; return the exit status."""
    files = {Path(file).stem: file for file in PICTURES}
    if unknown := [name for name in names if name not in files]:
        print(f"pictures: {unknown[0]!r} is none of {', '.join(files)}", file=sys.stderr)
        return 2
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name in names or files:
        PICTURES[files[name]](IMAGES / files[name])
        print(f"{IMAGES / files[name]} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
