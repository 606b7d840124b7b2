"""One daemon a home."""

import os
from pathlib import Path

import pytest

from mlxd import lock
from mlxd.errors import MlxdError, StartupError


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


def test_the_holder_is_known_while_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "mlxd.lock"
    assert lock.holder(file) is None
    with lock.hold(file):
        assert lock.holder(file) == os.getpid()
    assert lock.holder(file) is None


def test_what_follows_the_first_line_is_of_an_older_daemon(tmp_path: Path) -> None:
    file = tmp_path / "mlxd.lock"
    with lock.hold(file):
        with file.open("ab") as longer:
            longer.write(b"99\n")
        assert lock.holder(file) == os.getpid()


def test_a_line_that_is_not_there_whole_means_nothing(tmp_path: Path) -> None:
    file = tmp_path / "mlxd.lock"
    with lock.hold(file):
        file.write_text(str(os.getpid()))
        assert lock.holder(file) is None


@pytest.mark.parametrize("content", ["", "\n", "0\n", "-1\n", "nonsense", "9999999\n", "9" * 30])
def test_a_lock_file_left_behind_means_nothing(tmp_path: Path, content: str) -> None:
    file = tmp_path / "mlxd.lock"
    file.write_text(content)
    assert lock.holder(file) is None


def test_a_lock_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MlxdError, match="Is a directory"):
        lock.holder(tmp_path)
