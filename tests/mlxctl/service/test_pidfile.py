"""Only a lock that is held means that a daemon runs."""

import os
from pathlib import Path

import pytest

from mlxctl.errors import CommandFailed
from mlxctl.service.pidfile import owner
from mlxd import lock


def test_the_holders_pid(home: Path) -> None:
    file = home / "mlxd.lock"
    assert owner(file) is None
    with lock.hold(file):
        assert owner(file) == os.getpid()
    assert owner(file) is None


def test_what_follows_the_first_line_is_of_an_older_daemon(home: Path) -> None:
    file = home / "mlxd.lock"
    with lock.hold(file):
        with file.open("ab") as longer:
            longer.write(b"99\n")
        assert owner(file) == os.getpid()


def test_a_line_that_is_not_there_whole_means_nothing(home: Path) -> None:
    file = home / "mlxd.lock"
    with lock.hold(file):
        file.write_text(str(os.getpid()))
        assert owner(file) is None


@pytest.mark.parametrize("content", ["", "\n", "0\n", "-1\n", "nonsense", "9999999\n", "9" * 30])
def test_a_lock_file_left_behind_means_nothing(home: Path, content: str) -> None:
    file = home / "mlxd.lock"
    file.write_text(content)
    assert owner(file) is None


def test_a_lock_that_cannot_be_read_is_told(home: Path) -> None:
    with pytest.raises(CommandFailed, match="Is a directory"):
        owner(home)
