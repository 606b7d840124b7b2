"""What a daemon leaves on disk about its start and its end."""

import json
import os
import sys
from pathlib import Path

import pytest

from mlxd import run_record
from mlxd.errors import ConfigError, StartupError
from mlxd.run_record import RunEnd, recorded


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("MLXD_")]:
        monkeypatch.delenv(name)
    return tmp_path / "mlxd.run.json"


def test_a_running_daemon_tells_how_it_was_started(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mlxd", "--port", "8081"])
    monkeypatch.setenv("MLXD_SERVER__API_KEY", "a-long-secret")
    monkeypatch.setenv("MLXD_SERVER__PORT", "8082")
    with recorded(file):
        record = run_record.read(file)
        assert (record.pid, record.folder) == (os.getpid(), str(tmp_path))
        assert record.arguments == ["--port", "8081"]
        assert (record.environment, record.secrets) == (
            {"MLXD_SERVER__PORT": "8082"},
            ["MLXD_SERVER__API_KEY"],
        )
        assert "a-long-secret" not in file.read_text()
        assert (record.ended, record.previous) == (None, None)
        assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_bytes())["ended"] == {"how": "stopped", "message": ""}


@pytest.mark.parametrize(
    ("error", "how"),
    [(StartupError("the port is in use"), "failed"), (ConfigError("a mistake"), "configuration")],
)
def test_a_daemon_that_fails_tells_why(file: Path, error: Exception, how: str) -> None:
    with pytest.raises(type(error)), recorded(file):
        raise error
    assert run_record.read(file).end == RunEnd(how, str(error))
    with recorded(file):
        assert run_record.read(file).previous == RunEnd(how, str(error))


def test_a_daemon_that_crashes_tells_nothing(file: Path) -> None:
    with pytest.raises(ZeroDivisionError), recorded(file):
        raise ZeroDivisionError
    assert run_record.read(file).ended is None
    assert run_record.read(file).end == RunEnd("crashed")


def test_a_record_that_cannot_be_written_stops_no_daemon(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "mlxd.run.json"
    with recorded(missing):
        assert run_record.read(missing) is None


def test_a_file_that_is_no_record_counts_as_none(file: Path) -> None:
    file.write_text("{}")
    assert run_record.read(file) is None
