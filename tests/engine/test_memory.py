"""What a process says it takes."""

import sys
import time
from pathlib import Path

import mlx.core as mx
import pytest

from mlxd.engine.memory import device_memory_bytes, memory_bytes

MANY = 64 * 1024 * 1024


def test_what_mlx_takes_is_counted_and_given_back() -> None:
    before = memory_bytes()
    array = mx.ones(MANY // 4)
    mx.eval(array)
    assert memory_bytes() - before == pytest.approx(MANY, rel=0.1)
    del array
    mx.clear_cache()
    assert memory_bytes() - before < MANY / 10


def test_what_others_than_mlx_take_is_counted() -> None:
    before = memory_bytes()
    block = bytearray(b"x" * MANY)
    assert memory_bytes() - before >= MANY * 0.9
    del block


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_is_what_the_system_counts() -> None:
    status = Path("/proc/self/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) * 1024
    assert memory_bytes() == pytest.approx(resident, rel=0.05)


def test_it_is_cheap_enough_to_be_asked_at_any_time() -> None:
    memory_bytes()
    begun = time.process_time()
    for _ in range(100):
        memory_bytes()
    assert (time.process_time() - begun) / 100 < 0.001


@pytest.mark.skipif(mx.metal.is_available(), reason="there is Metal")
def test_without_metal_there_is_no_advice() -> None:
    assert device_memory_bytes() == 0
