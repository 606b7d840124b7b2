"""Folders that are made once for all processes of a test run."""

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """Return the folder `name` of this test run, the same one for all of its processes."""
    # Each worker of pytest-xdist has a folder of its own in that of the run.
    base = tmp_path_factory.getbasetemp()
    root = base.parent if base.name.startswith("popen-") else base
    folder = root / "shared" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def made_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """Return the folder `name` of this test run, which `make` fills if no other process has."""
    folder = shared_folder(tmp_path_factory, name)
    done = folder.with_name(f"{name}.done")
    with one_at_a_time(folder):
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep other processes that do the same waiting while the block works on `folder`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
