"""`mlxctl logs`: the end of the log, and following it through truncation and rotation."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mlxctl.conftest import DEADLINE, Run, command


@pytest.fixture
def log(home: Path) -> Path:
    (home / "logs").mkdir()
    return home / "logs" / "mlxd.log"


@contextmanager
def following(*arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(
        command("logs", "-f", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        # Ends a wait for a line that does not come.
        deadline = threading.Timer(DEADLINE, process.kill)
        deadline.start()
        try:
            yield process
        finally:
            deadline.cancel()
            process.kill()


@pytest.mark.parametrize(
    ("content", "lines", "shown"),
    [
        ("a\nb\nc\n", 2, "b\nc\n"),
        ("a\nb\nc", 2, "b\nc"),
        ("a\nb\n", 50, "a\nb\n"),
        ("a\n\n\nb\n", 3, "\n\nb\n"),
        ("a\nb\n", 0, ""),
        ("", 5, ""),
    ],
)
def test_the_last_lines(log: Path, mlxctl: Run, content: str, lines: int, shown: str) -> None:
    log.write_text(content)
    done = mlxctl("logs", "-n", str(lines))
    assert (done.returncode, done.stdout) == (0, shown)


def test_fifty_lines_without_being_asked_and_long_ones_whole(log: Path, mlxctl: Run) -> None:
    lines = [f"{number} " + "x" * 5000 + "\n" for number in range(100)]
    log.write_text("".join(lines))
    assert mlxctl("logs").stdout == "".join(lines[50:])


def test_no_log_is_one_line(mlxctl: Run) -> None:
    done = mlxctl("logs")
    assert done.returncode == 1
    assert done.stderr.startswith("mlxctl: no log yet: ")
    assert done.stderr.count("\n") == 1


def test_a_log_that_cannot_be_read_is_one_line(log: Path, mlxctl: Run) -> None:
    log.mkdir()
    done = mlxctl("logs")
    assert (done.returncode, done.stderr) == (1, f"mlxctl: {log}: Is a directory\n")


def test_following_goes_on_until_control_c(log: Path) -> None:
    log.write_text("old\nlast\n")
    with following("-n", "1") as process, log.open("a") as writer:
        assert process.stdout.readline() == b"last\n"
        writer.write("new\n")
        writer.flush()
        assert process.stdout.readline() == b"new\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 130
        assert process.stderr.read().strip() == b""


def test_following_passes_on_to_the_file_after_a_rotation(log: Path) -> None:
    log.write_text("one\n")
    with following() as process:
        assert process.stdout.readline() == b"one\n"
        with log.open("a") as old:
            os.rename(log, log.with_suffix(".log.1"))
            old.write("two\n")
        log.write_text("three\n")
        assert process.stdout.readline() == b"two\n"
        assert process.stdout.readline() == b"three\n"


def test_following_begins_again_where_the_file_was_emptied(log: Path) -> None:
    log.write_text("a line that is long\n")
    with following() as process:
        assert process.stdout.readline() == b"a line that is long\n"
        log.write_text("short\n")
        assert process.stdout.readline() == b"short\n"


def test_following_waits_for_the_file(log: Path) -> None:
    with following() as process:
        log.write_text("first\n")
        assert process.stdout.readline() == b"first\n"
