"""What the prompt cache has on disk, read in a thread."""

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from mlxd.engine.disk_cache import DiskCache
from mlxd.engine.disk_reader import DiskReader, Restored
from mlxd.prompt_files import FolderInfo
from tests.support.prompt_nodes import FINGERPRINT, chain

SECONDS = 10.0
NODES = chain([1, 2], [3, 4], [5, 6])
KEYS = [node.key for node in NODES]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskCache]:
    disk = DiskCache(tmp_path, FINGERPRINT, 1_000_000, FolderInfo("it"))
    for node in NODES:
        assert disk.write(node)
    yield disk
    disk.close()


def read(disk: DiskCache, keys: list[bytes], max_bytes: int) -> Restored:
    delivered: SimpleQueue[Restored] = SimpleQueue()
    DiskReader(disk, delivered.put).read(7, keys, max_bytes)
    return delivered.get(timeout=SECONDS)


def test_it_reads_up_to_the_first_node_that_is_not_there(disk: DiskCache) -> None:
    assert read(disk, KEYS, 1_000_000) == Restored(7, NODES)
    assert read(disk, [KEYS[0], b"?", KEYS[2]], 1_000_000) == Restored(7, NODES[:1])


def test_it_reads_no_more_than_there_is_room_for(disk: DiskCache) -> None:
    two = NODES[0].nbytes + NODES[1].nbytes
    assert read(disk, KEYS, two) == Restored(7, NODES[:2])
    assert read(disk, KEYS, two - 1) == Restored(7, NODES[:1])
