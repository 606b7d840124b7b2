"""Reading weights ahead; only Linux can say what its file cache holds."""

import ctypes
import mmap
import os
import sys
import threading
from pathlib import Path

import pytest

from mlxd.engine.__main__ import reading_ahead

BYTES = 40 * 1024 * 1024


def reader() -> threading.Thread:
    return next(thread for thread in threading.enumerate() if thread.name == "reader")


@pytest.mark.skipif(sys.platform != "linux", reason="asks mincore(2)")
def test_the_weights_are_in_the_systems_cache(tmp_path: Path) -> None:
    weights = tmp_path / "model-00001-of-00001.safetensors"
    weights.write_bytes(bytes(BYTES))
    _forget(weights)
    if _cached_share(weights) > 0.5:
        pytest.skip("this file system keeps its files in memory")
    with reading_ahead(tmp_path):
        reader().join()
        assert _cached_share(weights) > 0.9  # a machine short of memory takes single pages back


def test_it_ends_with_the_block(tmp_path: Path) -> None:
    with (tmp_path / "model.safetensors").open("wb") as weights:
        weights.truncate(2**40)  # holes: no disk has to hold it, and nobody reads to its end
    with reading_ahead(tmp_path):
        thread = reader()
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("folder", [None, Path("/no/such/folder")])
def test_a_missing_folder_is_no_error(folder: Path | None) -> None:
    with reading_ahead(folder):
        pass


def _forget(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _cached_share(path: Path) -> float:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        pages = -(-len(content) // mmap.PAGESIZE)
        flags = (ctypes.c_ubyte * pages)()
        buffer = (ctypes.c_char * len(content)).from_buffer(content)
        address, length = ctypes.addressof(buffer), ctypes.c_size_t(len(content))
        assert ctypes.CDLL(None).mincore(ctypes.c_void_p(address), length, flags) == 0
        del buffer
        return sum(flag & 1 for flag in flags) / pages
