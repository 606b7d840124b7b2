"""The files of the log: read backwards, and followed as they are rotated."""

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlxctl.logs.entry import LogEntry
from mlxctl.logs.files import Tail, entries_backwards, lines_backwards
from mlxd.logs import PrivateRotatingFile, TextFormatter


class Log:
    """A daemon's log; the message of each entry is its number."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.number = 0
        self.start()

    def start(self, max_size: int = 1000, keep: int = 3) -> None:
        self.handler = PrivateRotatingFile(self.file, max_size, keep)
        self.handler.setFormatter(TextFormatter())

    def write(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.handler.emit(
                logging.LogRecord("mlxd", logging.INFO, "", 0, "%d", (self.number,), None)
            )


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "mlxd.log")
    yield log
    log.handler.close()


def numbers(entries: list[LogEntry]) -> list[int]:
    return [int(entry.parts.message) for entry in entries]


def read(tail: Tail) -> list[int]:
    """The numbers of all entries written by now: the last one needs a second look."""
    return numbers([*tail.read(), *tail.read()])


def test_entries_backwards_across_the_files(log: Log) -> None:
    log.write(50)
    assert log.file.with_name("mlxd.log.2").exists()
    found = numbers([*entries_backwards(log.file)])
    assert found == [*range(50, 50 - len(found), -1)]
    assert len(found) > 30


def test_entries_backwards_from_a_position(log: Log) -> None:
    log.write(2)
    end = log.file.stat().st_size
    log.write(1)
    assert numbers([*entries_backwards(log.file, end)]) == [2, 1]


def test_no_log_has_no_entries(tmp_path: Path) -> None:
    assert [*entries_backwards(tmp_path / "mlxd.log")] == []


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"a\n", b"a\nb", b"\n\nab\n" * 60_000, b"x" * 200_000]
)
def test_lines_backwards(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log").write_bytes(content)
    with (tmp_path / "log").open("rb") as log:
        found = list(lines_backwards(log, len(content)))
    assert found[::-1] == (content.removesuffix(b"\n").split(b"\n") if content else [])


@pytest.mark.parametrize("at_a_time", [1, 5, 15])
def test_tail_reads_every_entry_once_through_rotations(log: Log, at_a_time: int) -> None:
    """A file holds about 20 entries, so that no look misses more than one rotation."""
    seen = []
    with closing(Tail(log.file)) as tail:
        for _ in range(60 // at_a_time):
            log.write(at_a_time)
            seen += read(tail)
    assert seen == list(range(1, 61))
    assert log.file.with_name("mlxd.log.2").exists()


def test_tail_starts_at_the_end(log: Log) -> None:
    log.write(3)
    with closing(Tail(log.file)) as tail:
        assert tail.start == log.file.stat().st_size
        log.write(1)
        assert read(tail) == [4]


def test_tail_reads_the_rest_of_the_old_file_first(log: Log) -> None:
    log.write(1)
    with closing(Tail(log.file)) as tail:
        log.write(1)
        log.handler.doRollover()
        log.write(1)
        assert read(tail) == [2, 3]


def test_tail_starts_over_when_the_file_is_emptied(log: Log) -> None:
    log.write(5)
    with closing(Tail(log.file)) as tail:
        log.file.write_bytes(b"")
        log.write(1)
        assert read(tail) == [6]


def test_tail_waits_for_the_file(tmp_path: Path) -> None:
    with closing(Tail(tmp_path / "sub" / "mlxd.log")) as tail:
        assert tail.read() == []
        log = Log(tmp_path / "sub" / "mlxd.log")
        log.write(2)
        assert read(tail) == [1, 2]
        log.handler.close()


def test_tail_waits_for_the_rest_of_a_line_and_of_an_entry(log: Log) -> None:
    with closing(Tail(log.file)) as tail, log.file.open("ab") as daemon:
        daemon.write(b"2026-11-23 15:53:25.123+01:00 ERROR   mlxd: broken\n at x\n a")
        daemon.flush()
        assert tail.read() == tail.read() == []
        daemon.write(b"t y\n")
        daemon.flush()
        assert tail.read() == []
        (entry,) = tail.read()
        assert (entry.parts.message, entry.parts.traceback) == ("broken", " at x\n at y")
