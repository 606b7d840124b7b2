"""Running another program: its output, and the ways in which it can fail."""

from pathlib import Path

import pytest

from mlxctl.errors import CommandFailed
from mlxctl.programs import last_lines, run


def test_output_and_errors() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2"], seconds=10)
    assert (done.status, done.output, done.errors) == (0, "out\n", "err\n")
    assert done.demand() is done


def test_a_failure_quotes_the_last_line() -> None:
    with pytest.raises(CommandFailed, match=r"sh -c .* failed: because$"):
        run(["sh", "-c", "echo first >&2; echo because >&2; exit 3"], seconds=10).demand()


def test_a_silent_failure_names_the_status() -> None:
    assert run(["sh", "-c", "exit 3"], seconds=10).reason == "status 3"
    assert run(["sh", "-c", "kill -9 $$"], seconds=10).reason == "killed by signal 9"


def test_a_timeout_and_a_missing_program() -> None:
    with pytest.raises(CommandFailed, match=r"sleep 60 did not end within 0\.05 s"):
        run(["sleep", "60"], seconds=0.05)
    with pytest.raises(CommandFailed, match="/nowhere: No such file"):
        run(["/nowhere"], seconds=10)


def test_the_last_lines_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "log"
    assert last_lines(file, 2) == []
    file.write_text("".join(f"line {number}\n" for number in range(2000)))
    assert last_lines(file, 2) == ["line 1998", "line 1999"]
