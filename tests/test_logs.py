"""The daemon's log."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxd import logs
from mlxd.config import Log
from mlxd.errors import StartupError


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_of_text_has_time_level_and_origin(tmp_path: Path) -> None:
    logs.set_up(Log(), tmp_path / "logs" / "mlxd.log")
    logging.getLogger("mlxd.test").warning("look out")
    line = (tmp_path / "logs" / "mlxd.log").read_text()
    assert line.endswith(" WARNING mlxd.test: look out\n")


def test_a_line_of_json_is_an_object_with_the_traceback_in_it(tmp_path: Path) -> None:
    logs.set_up(Log(format="json"), tmp_path / "mlxd.log")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("mlxd.test").exception("it %s", "failed")
    (line,) = (tmp_path / "mlxd.log").read_text().splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["message"]) == ("error", "it failed")
    assert "ValueError: broken" in entry["traceback"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_is_not_unicode_is_logged_all_the_same(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up(Log(format=form), tmp_path / "mlxd.log")
    logging.getLogger("mlxd.test").info("the folder caf\udce9")
    assert "the folder caf\\" in (tmp_path / "mlxd.log").read_text()
    assert capsys.readouterr().err == ""


def test_lines_below_the_level_are_left_out(tmp_path: Path) -> None:
    logs.set_up(Log(level="warning"), tmp_path / "mlxd.log")
    logging.getLogger("mlxd.test").info("chatter")
    assert (tmp_path / "mlxd.log").read_text() == ""


def test_the_file_is_rotated_by_size_and_count(tmp_path: Path) -> None:
    logs.set_up(Log(max_size=500, keep=2), tmp_path / "mlxd.log")
    for i in range(50):
        logging.getLogger("mlxd.test").info("line %d", i)
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == ["mlxd.log", "mlxd.log.1", "mlxd.log.2"]
    assert all(file.stat().st_size <= 500 for file in tmp_path.iterdir())


def test_a_log_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file, not a folder")
    with pytest.raises(StartupError, match="cannot be written"):
        logs.set_up(Log(), tmp_path / "logs" / "mlxd.log")
