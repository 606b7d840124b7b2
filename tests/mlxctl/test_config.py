import json
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mlxctl.commands.config import config
from mlxd.config.keys import KEYS
from mlxd.errors import ConfigError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("MLXD_HOME", str(folder))
    return folder


def _run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(config, arguments, env=environ)


def _refusal(result: Result) -> str:
    assert isinstance(result.exception, ConfigError), result.output
    return result.exception.message


def test_path_prints_where_the_file_is(home: Path) -> None:
    assert _run("path").output == f"{home / 'config.toml'}\n"


def test_init_writes_a_private_file_once(home: Path) -> None:
    file = home / "config.toml"
    assert _run("init").output == f"wrote {file}\n"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert _run("validate").exit_code == 0

    file.write_text("# mine")
    assert _refusal(_run("init")) == f"{file}: already exists; it was not changed"
    assert file.read_text() == "# mine"


def test_init_says_why_it_cannot_write(home: Path) -> None:
    home.write_text("a file where the folder belongs")
    assert _refusal(_run("init")) == f"{home / 'config.toml'}: cannot be written: File exists"


def test_init_leaves_nothing_behind_on_a_full_disk(home: Path) -> None:
    program = "from mlxctl.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "config", "init"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
    )
    assert (done.returncode, done.stderr) == (
        1,
        f"mlxctl: {home / 'config.toml'}: cannot be written: File too large\n",
    )
    assert list(home.iterdir()) == []


def test_show_aligns_each_value_with_its_source(home: Path) -> None:
    output = _run("show", MLXD_SERVER__PORT="8081", MLXD_SERVER__API_KEY="sesame-open").output
    rows = [line.split() for line in output.splitlines()]
    assert ["server.port", "8081", "MLXD_SERVER__PORT"] in rows
    assert ["server.max_body", '"32MB"', "default"] in rows
    assert ["server.api_key", '"***"', "MLXD_SERVER__API_KEY"] in rows
    assert "sesame" not in output
    columns = {line.rindex(row[-1]) for line, row in zip(output.splitlines(), rows, strict=True)}
    assert len(columns) == 1


def test_show_json_is_one_object_by_key(home: Path) -> None:
    values = json.loads(_run("show", "--json", MLXD_LOG__KEEP="7").output)
    assert len(values) == len(KEYS)
    assert values["log.keep"] == {"value": 7, "source": "MLXD_LOG__KEEP"}
    assert values["models.keep_alive"] == {"value": 300.0, "source": "default"}


def test_validate_accepts_a_valid_configuration(home: Path, tmp_path: Path) -> None:
    assert _run("validate").output == f"valid: the defaults (no {home / 'config.toml'})\n"
    file = tmp_path / "other.toml"
    file.write_text("server.port = 9000")
    assert _run("validate", str(file)).output == f"valid: {file}\n"


def test_validate_reports_every_mistake(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text("server.port = -1\nlog.keep = 0")
    assert len(_refusal(_run("validate", str(file))).splitlines()) == 2
    assert "no such file" in _refusal(_run("validate", str(tmp_path / "absent.toml")))


def test_validate_refuses_contradicting_values(home: Path) -> None:
    refusal = _refusal(_run("validate", MLXD_SERVER__HOST="0.0.0.0"))
    assert "set server.api_key" in refusal
