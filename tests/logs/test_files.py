"""The log file: private, rotated by size, and never larger than configured."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlxd.logs.files import PrivateRotatingFile, empty_if_large

Open = Callable[..., logging.Logger]


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[Open]:
    """Return a logger that writes to `mlxd.log`."""
    handlers = []
    logger = logging.Logger("test")

    def open_log(max_size: int = 500, keep: int = 2) -> logging.Logger:
        handlers.append(PrivateRotatingFile(tmp_path / "mlxd.log", max_size, keep))
        logger.handlers[:] = handlers[-1:]
        return logger

    yield open_log
    for handler in handlers:
        handler.close()


def content(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in sorted(folder.iterdir())}


def numbers(text: str) -> list[int]:
    return [int(line.split()[-1]) for line in text.splitlines()]


def test_the_log_is_rotated_by_size_and_the_newest_files_are_kept(
    tmp_path: Path, open_log: Open
) -> None:
    log = open_log(max_size=500, keep=2)
    for number in range(200):
        log.info("line %d", number)
    files = content(tmp_path)
    assert list(files) == ["mlxd.log", "mlxd.log.1", "mlxd.log.2"]
    assert all(len(text) <= 500 for text in files.values())
    kept = [*numbers(files["mlxd.log.2"]), *numbers(files["mlxd.log.1"])]
    kept += numbers(files["mlxd.log"])
    assert kept == list(range(kept[0], 200))


def test_a_restart_appends(tmp_path: Path, open_log: Open) -> None:
    open_log().info("first")
    open_log().info("second")
    assert content(tmp_path) == {"mlxd.log": "first\nsecond\n"}


def test_every_file_is_private(tmp_path: Path) -> None:
    handler = PrivateRotatingFile(tmp_path / "logs" / "mlxd.log", max_size=10, keep=2)
    for _ in range(2):
        handler.emit(logging.LogRecord("", logging.INFO, "", 0, "a long line", (), None))
    handler.close()
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "logs").iterdir()}
    assert modes["mlxd.log"] == modes["mlxd.log.1"] == 0o600
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700


def test_a_limit_of_nothing_is_still_a_limit(tmp_path: Path, open_log: Open) -> None:
    log = open_log(max_size=0, keep=1)
    for number in range(9):
        log.info("line %d", number)
    assert sum(len(text) for text in content(tmp_path).values()) < 20


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mlxd.log").symlink_to("/dev/full")
    handler = PrivateRotatingFile(tmp_path / "mlxd.log", max_size=100, keep=1)
    handler.emit(logging.LogRecord("", logging.INFO, "", 0, "lost", (), None))
    with pytest.raises(OSError, match="No space left"):
        handler.close()
    assert capsys.readouterr().err == ""


def test_a_mistake_in_a_logging_call_is_reported(
    tmp_path: Path, open_log: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    log = open_log()
    log.info("%d", "no number")
    log.info("fine")
    assert content(tmp_path) == {"mlxd.log": "fine\n"}
    assert "Logging error" in capsys.readouterr().err


@pytest.mark.parametrize(("size", "left"), [(70_000, 0), (60_000, 60_000)])
def test_standard_error_is_emptied_if_its_file_is_large(
    tmp_path: Path, size: int, left: int
) -> None:
    with (tmp_path / "stderr.log").open("a") as file:
        file.write("x" * size)
        file.flush()
        empty_if_large(file.fileno())
    assert (tmp_path / "stderr.log").stat().st_size == left


def test_standard_error_that_is_not_a_file_is_left_alone(tmp_path: Path) -> None:
    with open("/dev/null", "a") as nothing:
        empty_if_large(nothing.fileno())
    empty_if_large(1_000_000)  # not open


def test_closing_the_log_closes_its_file(tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    PrivateRotatingFile(tmp_path / "mlxd.log", 100, 1).close()
    assert len(os.listdir("/dev/fd")) == before
