"""`mlxctl logs`: the last entries, the filters, and following the log."""

import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlxd.logs import JsonFormatter, TextFormatter
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
        ("a\nb\nc", 2, "b\nc\n"),
        ("a\nb\n", 50, "a\nb\n"),
        ("a\n\n\nb\n", 3, "\n\nb\n"),
        ("a\nb\n", 0, ""),
        ("", 5, ""),
    ],
)
def test_the_last_entries(log: Path, mlxctl: Run, content: str, lines: int, shown: str) -> None:
    log.write_text(content)
    done = mlxctl("logs", "-n", str(lines))
    assert (done.returncode, done.stdout) == (0, shown)


def test_fifty_entries_by_default_and_long_ones_in_full(log: Path, mlxctl: Run) -> None:
    lines = [f"{number} " + "x" * 5000 + "\n" for number in range(100)]
    log.write_text("".join(lines))
    assert mlxctl("logs").stdout == "".join(lines[50:])


def test_an_entry_counts_once_and_is_shown_with_its_traceback(log: Path, mlxctl: Run) -> None:
    failed = entry(2, "error", "http", "it failed\n  File x\nKeyError")
    log.write_text(entry(3, "info", "models", "fine") + failed + entry(1, "info", "models", "fine"))
    shown = mlxctl("logs", "-n", "2").stdout
    assert shown.startswith(failed)
    assert shown.count("fine") == 1


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
        assert process.wait(DEADLINE) == -signal.SIGINT
        assert process.stderr.read().strip() == b""


def test_following_ends_when_the_reader_goes_away(log: Path) -> None:
    log.write_text("one\n")
    with following() as process:
        assert process.stdout.readline() == b"one\n"
        process.stdout.close()
        assert process.wait(DEADLINE) == 1
        assert process.stderr.read() == b""


def test_following_continues_in_the_next_file_after_a_rotation(log: Path) -> None:
    log.write_text("one\n")
    with following() as process:
        assert process.stdout.readline() == b"one\n"
        with log.open("a") as old:
            os.rename(log, log.with_suffix(".log.1"))
            old.write("two\n")
        log.write_text("three\n")
        assert process.stdout.readline() == b"two\n"
        assert process.stdout.readline() == b"three\n"


def test_following_starts_over_when_the_file_is_emptied(log: Path) -> None:
    log.write_text("a line that is long\n")
    with following() as process:
        assert process.stdout.readline() == b"a line that is long\n"
        log.write_text("short\n")
        assert process.stdout.readline() == b"short\n"


def test_following_waits_for_the_file(log: Path) -> None:
    with following() as process:
        log.write_text("first\n")
        assert process.stdout.readline() == b"first\n"


def entry(
    age: float, level: str, logger: str, message: str, *, as_json: bool = False, **details: object
) -> str:
    """A line as the daemon wrote it `age` seconds ago."""
    number = getattr(logging, level.upper())
    record = logging.LogRecord(f"mlxd.{logger}", number, "", 0, message, (), None)
    record.created = time.time() - age
    record.details = details
    return (JsonFormatter() if as_json else TextFormatter()).format(record) + "\n"


def shown(mlxctl: Run, *arguments: str) -> list[str]:
    """The messages that are shown."""
    done = mlxctl("logs", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["message"] for line in done.stdout.splitlines()]


@pytest.fixture(params=[False, True], ids=["text", "json"])
def story(request: pytest.FixtureRequest, log: Path) -> None:
    """A log in three files: a request, a crash, and what the engine printed."""
    form = {"as_json": request.param}
    log.with_name("mlxd.log.2").write_text(
        entry(90_000, "info", "models", "tiny is ready", engine="tiny", **form)
        + entry(7000, "info", "http", "GET /health 200 1.0ms", request="r1", **form)
    )
    log.with_name("mlxd.log.1").write_text(
        entry(500, "warning", "http.errors", "bug\n  File x", request="r2", **form)
        + entry(499, "warning", "http", "POST /v1/completions 500 3.0ms", request="r2", **form)
    )
    log.write_text(
        entry(400, "error", "models", "the engine of tiny has crashed", engine="tiny", **form)
        + entry(5, "info", "engine", "tiny[4711]: warming up", engine="tiny", **form)
    )


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (["-n", "3"], ["POST", "the engine of", "tiny[4711]"]),
        (["--since", "10m"], ["bug", "POST", "the engine of", "tiny[4711]"]),
        (["--since", "1h", "--level", "error"], ["the engine of"]),
        (["--level", "warning"], ["bug", "POST", "the engine of"]),
        (["--level", "warning", "-n", "1"], ["the engine of"]),
        (["--request", "r1"], ["GET"]),
        (["--request", "r2"], ["bug", "POST"]),
        (["--engine", "tiny"], ["tiny is ready", "the engine of", "tiny[4711]"]),
        (["--engine", "tin"], []),
    ],
)
def test_filters_across_the_files(
    story: None, mlxctl: Run, options: list[str], messages: list[str]
) -> None:
    found = shown(mlxctl, *options)
    assert len(found) == len(messages)
    assert all(text.startswith(start) for text, start in zip(found, messages, strict=True))


def test_since_a_time_of_the_clock(story: None, mlxctl: Run) -> None:
    an_hour_ago = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() - 3600))
    assert len(shown(mlxctl, "--since", an_hour_ago)) == 4
    assert shown(mlxctl, "--since", "2999-01-01") == []
    done = mlxctl("logs", "--since", "yesterday")
    assert done.returncode == 2
    assert "neither a duration" in done.stderr


def test_a_log_of_json_is_text_for_a_person(log: Path, mlxctl: Run) -> None:
    log.write_text(entry(1, "info", "http", "GET /health 200", as_json=True, request="r1"))
    assert mlxctl("logs").stdout.endswith(" INFO    mlxd.http request=r1: GET /health 200\n")
    assert json.loads(mlxctl("logs", "--json").stdout)["request"] == "r1"


def test_following_an_entry_that_comes_in_parts(log: Path) -> None:
    log.write_text(entry(1, "info", "models", "fine"))
    whole = entry(0, "error", "models", "broken\n at x")
    with following("--json") as process, log.open("a") as writer:
        assert b"fine" in process.stdout.readline()
        writer.write(whole[:-3])
        writer.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        writer.write(whole[-3:])
        writer.flush()
        shown = json.loads(process.stdout.readline())
        assert (shown["message"], shown["traceback"]) == ("broken", " at x")


def test_following_with_a_filter(log: Path) -> None:
    log.touch()
    with following("--level", "error") as process, log.open("a") as writer:
        writer.write(
            entry(0, "info", "models", "fine") + entry(0, "error", "models", "broken\n at x")
        )
        writer.flush()
        assert process.stdout.readline().endswith(b": broken\n")
        assert process.stdout.readline() == b" at x\n"
