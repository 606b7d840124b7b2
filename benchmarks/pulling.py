"""`python -m benchmarks.pulling`: a download over one connection and over several.

A stand-in hub in a process of its own sends a model of random bytes, each connection at a limited
rate; the download process runs as the daemon runs it. With `--rate 0`, the hub sends as fast as it
can, which shows what the download costs.
"""

import argparse
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import tokenizers

from mlxd.hub.download_process import Report
from mlxd.hub.reference import Reference
from mlxd.hub.staging import Pending, Staging
from tests.fakes.hub import fake_hub

REPO = "acme/large"
_MB = 1_000_000


def main() -> None:
    """Print a line for each number of connections."""
    parser = argparse.ArgumentParser(prog="benchmarks.pulling", description=__doc__)
    parser.add_argument("--size", type=int, default=400, help="MB of the model (default: 400)")
    parser.add_argument("--rate", type=float, default=5, help="MB/s of a connection (default: 5)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    print("connections  seconds     MB/s  CPU s  peak MB")
    with _hub(options.size * _MB, round(options.rate * _MB)) as url:
        for connections in options.connections:
            wall, cpu, peak = _pull(url, connections)
            speed = options.size / wall
            print(f"{connections:11}  {wall:7.2f}  {speed:7.1f}  {cpu:5.2f}  {peak / _MB:7.0f}")


def _pull(url: str, connections: int) -> tuple[float, float, int]:
    """Return the seconds, the processor's seconds and the most memory in bytes of a download."""
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        Staging(models, REPO).write(Pending(Reference(REPO)))
        limits = ("--memory-limit", str(10**12), "--connections", str(connections))
        command = (sys.executable, "-P", "-m", "mlxd.hub", REPO, "main", "--into", str(models))
        environ = {**os.environ, "HF_ENDPOINT": url, "HF_TOKEN": "", "HF_HOME": folder}
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        with subprocess.Popen(
            (*command, *limits), env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            last = msgspec.json.decode(process.stdout.readlines()[-1], type=Report)
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
        wall = time.monotonic() - began
        if last.done is None:
            raise SystemExit(last.error)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    unit = 1 if sys.platform == "darwin" else 1024
    return wall, cpu, usage.ru_maxrss * unit


@contextmanager
def _hub(size: int, rate: int) -> Iterator[str]:
    """Run the hub in a process of its own, and yield its address."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(theirs, size, rate), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection, size: int, rate: int) -> None:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE()).to_str().encode()
    with fake_hub() as hub:
        hub.rate = rate
        hub.repos[REPO].commit(
            {
                "config.json": b'{"model_type": "llama"}',
                "tokenizer.json": tokenizer,
                "model.safetensors": os.urandom(size),
            }
        )
        pipe.send(hub.url)
        pipe.recv()


if __name__ == "__main__":
    main()
