"""The daemon's log file: put aside when it is full, and never over its limits."""

import logging
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlxd.logs.rotation import RotatingFile

Open = Callable[..., logging.Logger]


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[Open]:
    """Give a logger that writes to `mlxd.log`."""
    handlers = []
    logger = logging.Logger("test")

    def open_log(max_size: int = 500, keep: int = 2) -> logging.Logger:
        handlers.append(RotatingFile(tmp_path / "mlxd.log", max_size, keep))
        logger.handlers[:] = handlers[-1:]
        return logger

    yield open_log
    for handler in handlers:
        handler.close()


def content(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in sorted(folder.iterdir())}


def numbers(text: str) -> list[int]:
    return [int(line.split()[-1]) for line in text.splitlines()]


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes: a write then ends short, and the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_by_size_and_count(tmp_path: Path, open_log: Open) -> None:
    log = open_log(max_size=500, keep=2)
    for number in range(200):
        log.info("line %d", number)
    files = content(tmp_path)
    assert list(files) == ["mlxd.log", "mlxd.log.1", "mlxd.log.2"]
    assert all(len(text) <= 500 for text in files.values())
    kept = [*numbers(files["mlxd.log.2"]), *numbers(files["mlxd.log.1"])]
    kept += numbers(files["mlxd.log"])
    assert kept == list(range(kept[0], 200))


def test_what_a_daemon_before_has_written_stays(tmp_path: Path, open_log: Open) -> None:
    open_log().info("first")
    open_log().info("second")
    assert content(tmp_path) == {"mlxd.log": "first\nsecond\n"}


def test_fewer_files_are_kept_when_the_configuration_says_so(
    tmp_path: Path, open_log: Open
) -> None:
    others = {"mlxd.log.1", "mlxd.log.2", "mlxd.log.old", "mlxd.log.20261123"}
    for name in ("mlxd.log.3", "mlxd.log.10", *others):
        (tmp_path / name).touch()
    open_log(keep=2)
    assert set(content(tmp_path)) == {"mlxd.log", *others}


def test_a_folder_that_looks_like_a_file_of_the_log_is_left_alone(
    tmp_path: Path, open_log: Open
) -> None:
    (tmp_path / "mlxd.log.7").mkdir()
    open_log(keep=2).info("fine")
    assert (tmp_path / "mlxd.log").read_text() == "fine\n"


def test_a_line_larger_than_a_file_has_one_for_itself(tmp_path: Path, open_log: Open) -> None:
    log = open_log(max_size=10)
    for text in ("a", "b" * 50, "c"):
        log.info(text)
    assert content(tmp_path) == {
        "mlxd.log": "c\n",
        "mlxd.log.1": "b" * 50 + "\n",
        "mlxd.log.2": "a\n",
    }


def test_a_file_that_somebody_has_moved_or_removed_is_made_anew(
    tmp_path: Path, open_log: Open
) -> None:
    log = open_log()
    log.info("one")
    (tmp_path / "mlxd.log").rename(tmp_path / "moved")
    log.info("two")
    (tmp_path / "mlxd.log").unlink()
    log.info("three")
    assert content(tmp_path) == {"mlxd.log": "three\n", "moved": "one\n"}


def test_a_folder_that_somebody_has_removed_is_made_anew(tmp_path: Path) -> None:
    handler = RotatingFile(tmp_path / "logs" / "mlxd.log", 100, 1)
    shutil.rmtree(tmp_path / "logs")
    handler.emit(logging.LogRecord("", 20, "", 0, "one", (), None))
    (tmp_path / "logs").rename(tmp_path / "moved")
    handler.emit(logging.LogRecord("", 20, "", 0, "two", (), None))
    handler.close()
    assert content(tmp_path / "moved") == {"mlxd.log": "one\n"}
    assert content(tmp_path / "logs") == {"mlxd.log": "two\n"}


def test_a_full_disk_loses_whole_lines_and_says_how_many(tmp_path: Path, open_log: Open) -> None:
    log = open_log(max_size=10_000)
    log.info("before")
    with disk_of(20):
        for _ in range(3):
            log.info("this line does not fit on the disk")
    log.info("after")
    assert content(tmp_path)["mlxd.log"].splitlines() == [
        "before",
        "3 lines of this log were lost: No space left on device",
        "after",
    ]


def test_a_file_that_cannot_be_renamed_is_emptied(tmp_path: Path, open_log: Open) -> None:
    (tmp_path / "mlxd.log.2" / "in the way").mkdir(parents=True)
    log = open_log(max_size=200, keep=2)
    for number in range(100):
        log.info("line %d", number)
    log_text = (tmp_path / "mlxd.log").read_text()
    assert len(log_text) <= 300
    assert log_text.startswith("this log was emptied: it cannot be renamed: ")
    assert log_text.endswith("line 99\n")


def test_a_line_that_cannot_be_made_harms_nobody(
    tmp_path: Path, open_log: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    log = open_log()
    log.info("%d", "no number")
    log.info("fine")
    assert content(tmp_path) == {"mlxd.log": "fine\n"}
    assert "Logging error" in capsys.readouterr().err


def test_the_descriptor_is_closed(tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    RotatingFile(tmp_path / "mlxd.log", 100, 1).close()
    assert len(os.listdir("/dev/fd")) == before
