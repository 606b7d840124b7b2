"""Reads nodes of the prompt cache from disk, in a thread, so that no step waits for the disk."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from mlxd.engine.disk_cache import DiskCache
from mlxd.engine.node_file import StoredNode


@dataclass(frozen=True)
class Restored:
    """What was read from disk for a request: nodes that follow one another, perhaps not all."""

    request_id: int
    nodes: list[StoredNode]


class DiskReader:
    """Reads from `disk`, for one request after another."""

    def __init__(self, disk: DiskCache, deliver: Callable[[Restored], None]) -> None:
        """Take where to read, and what to call, in the thread, with what was read."""
        self.disk = disk
        self._deliver = deliver
        self._line: SimpleQueue[tuple[int, list[bytes], int]] = SimpleQueue()
        threading.Thread(target=self._work, name="disk-reader", daemon=True).start()

    def read(self, request_id: int, keys: list[bytes], max_bytes: int) -> None:
        """Read the nodes with these keys soon.

        It stops at the first that cannot be read, and before they take more than `max_bytes`.
        """
        self._line.put((request_id, keys, max_bytes))

    def _work(self) -> None:
        while True:
            request_id, keys, left = self._line.get()
            nodes: list[StoredNode] = []
            for key in keys:
                node = self.disk.read(key)
                if node is None or (left := left - node.nbytes) < 0:
                    break
                nodes.append(node)
            self._deliver(Restored(request_id, nodes))
