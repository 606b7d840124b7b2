"""The daemon's log: where it goes, how its lines look, and how its file is rotated."""

import json
import logging
import os
import resource
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from mlxd import logs
from mlxd.config import LogConfig
from mlxd.errors import StartupError
from mlxd.logs import PrivateRotatingFile, empty_if_large

Open = Callable[..., logging.Logger]


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_of_text_has_time_level_and_origin(tmp_path: Path) -> None:
    logs.set_up(LogConfig(), tmp_path / "logs" / "mlxd.log")
    logging.getLogger("mlxd.test").warning("look out")
    line = (tmp_path / "logs" / "mlxd.log").read_text()
    when, rest = line[:29], line[29:]
    assert datetime.fromisoformat(when).tzinfo is not None
    assert rest == " WARNING mlxd.test: look out\n"


def test_a_line_of_json_is_an_object_with_the_traceback_in_it(tmp_path: Path) -> None:
    logs.set_up(LogConfig(format="json"), tmp_path / "mlxd.log")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("mlxd.test").exception("it %s", "failed")
    (line,) = (tmp_path / "mlxd.log").read_text().splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["message"]) == ("error", "it failed")
    assert "ValueError: broken" in entry["traceback"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_invalid_unicode_is_escaped(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up(LogConfig(format=form), tmp_path / "mlxd.log")
    logging.getLogger("mlxd.test").info("the folder caf\udce9")
    assert "the folder caf\\" in (tmp_path / "mlxd.log").read_text()
    assert capsys.readouterr().err == ""


def test_lines_below_the_level_are_left_out(tmp_path: Path) -> None:
    logs.set_up(LogConfig(level="warning"), tmp_path / "mlxd.log")
    logging.getLogger("mlxd.test").info("chatter")
    assert (tmp_path / "mlxd.log").read_text() == ""


DETAILS = {"request": "100% caf\udce9", "total_ms": 1.5}


def test_json_has_all_details(tmp_path: Path) -> None:
    logs.set_up(LogConfig(format="json"), tmp_path / "mlxd.log")
    logging.getLogger("mlxd.test").info("done", extra={"details": DETAILS})
    entry = json.loads((tmp_path / "mlxd.log").read_text())
    assert (entry["request"], entry["total_ms"]) == ("100% caf\\udce9", 1.5)


def test_text_has_the_details_that_say_what_the_line_is_about(tmp_path: Path) -> None:
    logs.set_up(LogConfig(), tmp_path / "mlxd.log")
    logging.getLogger("mlxd.test").info("done", extra={"details": DETAILS})
    line = (tmp_path / "mlxd.log").read_text()
    assert line.endswith(" INFO    mlxd.test request=100%25%20caf\\udce9: done\n")


def test_a_very_long_message_is_cut_off(tmp_path: Path) -> None:
    logs.set_up(LogConfig(), tmp_path / "mlxd.log")
    logging.getLogger("mlxd.test").info("x" * 1_000_000)
    assert (tmp_path / "mlxd.log").stat().st_size < 40_000


def test_python_warnings_go_to_the_log(tmp_path: Path) -> None:
    logs.set_up(LogConfig(), tmp_path / "mlxd.log")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old fashioned", stacklevel=1)
    assert "old fashioned" in (tmp_path / "mlxd.log").read_text()


def test_folder_and_file_are_private(tmp_path: Path) -> None:
    logs.set_up(LogConfig(), tmp_path / "logs" / "mlxd.log")
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "logs" / "mlxd.log").stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file, not a folder")
    with pytest.raises(StartupError, match="cannot be written"):
        logs.set_up(LogConfig(), tmp_path / "logs" / "mlxd.log")


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


@contextmanager
def full_disk(after_bytes: int) -> Iterator[None]:
    """Let this process write no file larger than that, which stands for a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_after_a_full_disk_the_log_says_how_much_is_missing(
    tmp_path: Path, open_log: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    log = open_log()
    log.info("before")
    with full_disk(after_bytes=10):
        for number in range(3):
            log.info("lost %d", number)
    log.info("after")
    before, rest, note, after = content(tmp_path)["mlxd.log"].splitlines()
    assert (before, rest, after) == ("before", "los", "after")
    assert note == "3 lines before this one could not be written: File too large"
    assert capsys.readouterr().err == ""


def test_a_log_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "mlxd.log"
    logs.set_up(LogConfig(), file)
    logging.getLogger("mlxd.test").warning("one")
    shutil.rmtree(file.parent)
    logging.getLogger("mlxd.test").warning("two")
    file.rename(tmp_path / "moved.log")  # as logrotate does
    logging.getLogger("mlxd.test").warning("three")
    assert "two" in (tmp_path / "moved.log").read_text()
    assert "three" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


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
