"""The daemon's log: where it goes, and how its lines look."""

import json
import logging
import warnings
from datetime import datetime
from pathlib import Path

import pytest

from mlxd import logs
from mlxd.config import LogConfig
from mlxd.errors import StartupError


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
