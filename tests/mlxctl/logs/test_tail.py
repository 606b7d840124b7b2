"""Following the log: every line once, however the files are moved."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxctl.logs.files import end_of_lines, lines_backwards, opened
from mlxctl.logs.tail import Tail
from mlxd.logs.rotation import RotatingFile


class Log:
    """A daemon's log, and what a follower has seen of it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.warnings: list[bytes] = []
        self.number = 0
        self.tails: list[Tail] = []
        self.start()

    def start(self, max_size: int = 200, keep: int = 3) -> None:
        self.handler = RotatingFile(self.file, max_size, keep)

    def write(self, lines: int) -> None:
        for _ in range(lines):
            self.number += 1
            text = f"line {self.number}"
            self.handler.emit(logging.LogRecord("mlxd", logging.INFO, "", 0, text, (), None))

    def tail(self) -> Tail:
        log = next(opened(self.file), None)
        if log is not None:
            log.seek(end_of_lines(log))
        self.tails.append(Tail(self.file, log, self.warnings.append))
        return self.tails[-1]

    def close(self) -> None:
        self.handler.close()
        for tail in self.tails:
            tail.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "mlxd.log")
    yield log
    log.close()


def read(tail: Tail) -> list[int]:
    """The numbers of all lines that there are by now."""
    found = []
    while (lines := tail.read()) is not None:
        found += [int(line.split()[-1]) for line in lines]
    return found


@pytest.mark.parametrize("at_a_time", [1, 7, 30, 50])
def test_no_line_is_missed_or_repeated(log: Log, at_a_time: int) -> None:
    """A file holds 20 lines, so up to three files are put aside between two looks."""
    tail = log.tail()
    seen = []
    for _ in range(40):
        log.write(at_a_time)
        seen += read(tail)
    assert seen == list(range(1, 40 * at_a_time + 1))
    assert log.warnings == []


def test_what_was_removed_before_it_could_be_read_is_remarked_upon(log: Log) -> None:
    tail = log.tail()
    log.write(1)
    assert read(tail) == [1]
    log.write(500)
    seen = read(tail)
    missing = set(range(2, 502)) - set(seen)
    assert missing == set(range(min(missing), max(missing) + 1))
    assert seen == sorted(seen)
    assert seen[-1] == 501
    assert log.warnings == [b"line %d" % (min(missing) - 1)]


def test_a_restart_with_a_rotation_before_it(log: Log) -> None:
    log.write(5)
    tail = log.tail()
    log.write(30)
    log.handler.close()
    log.start()
    log.write(3)
    assert read(tail) == list(range(6, 39))


def test_a_file_that_was_removed_is_not_followed_by_older_ones(log: Log) -> None:
    log.write(45)
    tail = log.tail()
    for file in log.file.parent.glob("mlxd.log.*"):
        os.utime(file, (1, 1))
    log.file.unlink()
    assert read(tail) == []
    log.write(2)
    assert read(tail) == [46, 47]
    assert log.warnings == []


def test_a_line_that_is_taken_back_for_want_of_space(log: Log) -> None:
    log.write(3)
    tail = log.tail()
    log.write(1)
    whole = log.file.stat().st_size
    with log.file.open("ab") as daemon:
        daemon.write(b"line 5, of which only the beg")
        daemon.flush()
        assert read(tail) == [4]
        daemon.truncate(whole)
    assert read(tail) == []
    log.write(1)
    assert read(tail) == [5]


@pytest.mark.parametrize("rotations", [1, 2, 3, 9])
def test_files_are_given_in_their_order_while_they_are_put_aside(log: Log, rotations: int) -> None:
    """Each file holds one line, 21 are kept; between any two that are given some are put aside."""
    log.handler.close()
    log.start(max_size=1, keep=20)
    log.write(20)
    found = []
    for file in opened(log.file):
        with file:
            found.append(int(file.read().split()[-1]))
        log.write(rotations)
    assert found == [20 - number for number in range(len(found))]
    assert len(found) == 20 // (rotations + 1) + 1  # all that were not removed by then


def test_a_copy_with_a_date_for_a_number_is_none_of_the_log(log: Log) -> None:
    log.write(1)
    log.file.with_name("mlxd.log.20261123").write_text("a copy")
    (file,) = opened(log.file)
    file.close()


def test_a_line_is_given_once_it_is_whole(log: Log) -> None:
    tail = log.tail()
    with log.file.open("ab") as other:
        for piece, shown in ((b"line 1\nli", [1]), (b"ne ", []), (b"2\n", [2])):
            other.write(piece)
            other.flush()
            assert read(tail) == shown


def test_files_that_come_later_are_read_from_the_first(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "sub" / "mlxd.log", None, print)
    assert tail.read() is None
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mlxd.log").write_text("line 2\n")
    (tmp_path / "sub" / "mlxd.log.1").write_text("line 1\n")
    assert read(tail) == [1, 2]
    tail.close()


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"a\n", b"a\nb", b"\n\nab\n" * 60_000, b"x" * 200_000]
)
def test_lines_backwards(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log").write_bytes(content)
    with (tmp_path / "log").open("rb") as log:
        found = list(lines_backwards(log, len(content)))
        assert found[::-1] == content.removesuffix(b"\n").split(b"\n")[: len(found)]
        assert len(found) == (len(content.removesuffix(b"\n").split(b"\n")) if content else 0)
        assert end_of_lines(log) == content.rfind(b"\n") + 1
