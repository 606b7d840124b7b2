"""The memory of a process and of all its descendants."""

import contextlib
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_INTERVAL_SECONDS = 0.02 if sys.platform == "linux" else 0.2  # ps takes longer than reading /proc


def tree_bytes(pid: int) -> int:
    """Return the resident memory of the process `pid` and its descendants, in bytes.

    Pages that they share count several times.
    """
    return _tree_bytes_proc(pid) if sys.platform == "linux" else _tree_bytes_ps(pid)


class PeakMemory:
    """The largest memory of a tree of processes while the block runs, in bytes."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL_SECONDS):
            self.bytes = max(self.bytes, tree_bytes(self._pid))


def _tree_bytes_proc(pid: int) -> int:
    total = 0
    for process in _descendants(pid):
        with contextlib.suppress(OSError):  # it ended
            total += int((_PROC / str(process) / "statm").read_text().split()[1]) * _PAGE_BYTES
    return total


def _descendants(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _descendants(int(child))


def _tree_bytes_ps(pid: int) -> int:
    command = ["ps", "-axo", "pid=,ppid=,rss="]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    children: dict[int, list[int]] = defaultdict(list)
    kilobytes: dict[int, int] = {}
    for line in lines:
        process, parent, resident = map(int, line.split())
        children[parent].append(process)
        kilobytes[process] = resident
    tree = [pid]
    for process in tree:  # grows meanwhile
        tree += children[process]
    return 1024 * sum(kilobytes.get(process, 0) for process in tree)
