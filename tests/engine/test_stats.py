"""The memory that an engine reports."""

import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

from mlxd.engine.stats import device_memory_bytes, memory_bytes

MANY = 64 * 1024 * 1024


def growths(script: str) -> list[int]:
    """Return by how much a new process has grown at each `note()` of `script`.

    The heap of this one may have room that other tests freed.
    """
    frame = [
        "import mlx.core as mx",
        "from mlxd.engine.stats import memory_bytes",
        "mx.eval(mx.ones(1))",
        f"MANY, before = {MANY}, memory_bytes()",
        "note = lambda: print(memory_bytes() - before)",
        script,
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(frame)], check=True, capture_output=True, text=True
    )
    return [int(line) for line in done.stdout.splitlines()]


def test_memory_of_mlx_is_counted_until_it_is_freed() -> None:
    taken, given_back = growths(
        "array = mx.ones(MANY // 4)\nmx.eval(array)\nnote()\ndel array\nmx.clear_cache()\nnote()"
    )
    assert taken == pytest.approx(MANY, rel=0.1)
    assert given_back < MANY / 10


def test_memory_outside_mlx_is_counted() -> None:
    assert growths("block = bytearray(b'x' * MANY)\nnote()") == [pytest.approx(MANY, rel=0.1)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_is_what_the_system_counts() -> None:
    status = Path("/proc/self/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) * 1024
    assert memory_bytes() == pytest.approx(resident, rel=0.05)


@pytest.mark.skipif(mx.metal.is_available(), reason="there is Metal")
def test_without_metal_no_device_memory_is_reported() -> None:
    assert device_memory_bytes() == 0
