"""The memory of a tree of processes."""

import os
import subprocess
import sys
from collections.abc import Callable

import processes
import pytest


@pytest.mark.parametrize("tree_bytes", [processes._tree_bytes_proc, processes._tree_bytes_ps])
def test_tree_counts_descendants(tree_bytes: Callable[[int], int]) -> None:
    if tree_bytes is processes._tree_bytes_proc and sys.platform != "linux":
        pytest.skip("no /proc")
    alone = tree_bytes(os.getpid())
    script = "block = b'x' * 50_000_000; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert tree_bytes(os.getpid()) > alone + 50_000_000
        child.communicate(b"\n")


def test_peak_is_not_below_what_the_tree_takes() -> None:
    with processes.PeakMemory(os.getpid()) as peak:
        while not peak.bytes:
            pass
    assert peak.bytes > 1_000_000
