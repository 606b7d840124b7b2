"""One daemon a home."""

import os
from pathlib import Path

import pytest

from mlxd import lock
from mlxd.errors import StartupError


def test_the_lock_tells_who_holds_it_and_refuses_a_second(tmp_path: Path) -> None:
    file = tmp_path / "run" / "mlxd.lock"
    with lock.hold(file):
        assert file.read_text() == f"{os.getpid()}\n"
        assert file.parent.stat().st_mode & 0o777 == 0o700
        with pytest.raises(StartupError, match=rf"another mlxd \(pid {os.getpid()}\)"):
            lock.hold(file)


def test_the_file_of_a_dead_daemon_is_taken_over(tmp_path: Path) -> None:
    file = tmp_path / "mlxd.lock"
    file.write_text("99999999999\n")
    with lock.hold(file):
        assert file.read_text() == f"{os.getpid()}\n"
    with lock.hold(file):
        pass


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file, not a folder")
    with pytest.raises(StartupError, match="cannot be written"):
        lock.hold(tmp_path / "run" / "mlxd.lock")
