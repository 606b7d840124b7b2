"""What a service manager is told about the daemon: stable paths, and no secrets."""

from pathlib import Path

import pytest

from mlxctl.service import description
from mlxctl.service.description import Mode, carried, describe, stable


@pytest.mark.parametrize(
    ("path", "lasting"),
    [
        ("/opt/homebrew/Cellar/mlxd/0.1.0/bin/mlxd", "/opt/homebrew/opt/mlxd/bin/mlxd"),
        (
            "/usr/local/Cellar/mlxd/0.1.0_2/libexec/bin/python",
            "/usr/local/opt/mlxd/libexec/bin/python",
        ),
        ("/Users/ada/.venv/bin/mlxd", "/Users/ada/.venv/bin/mlxd"),
    ],
)
def test_paths_into_homebrews_cellar_become_lasting_ones(path: str, lasting: str) -> None:
    assert stable(path) == lasting


def test_the_program_is_the_command_or_else_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    monkeypatch.setattr(description.sys, "executable", str(python))
    assert description.program() == (str(python), "-P", "-m", "mlxd")
    command = tmp_path / "mlxd"
    command.touch(mode=0o755)
    assert description.program() == (str(command),)


def test_places_settings_and_proxies_are_carried_and_secrets_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLXD_HOME", str(tmp_path))
    environ = {
        "PATH": "/bin",
        "HF_TOKEN": "secret",
        "MLXD_HUB__TOKEN": "secret",
        "http_proxy": "http://ada:secret@proxy:3128",
        "https_proxy": "http://proxy:3128",
        "REQUESTS_CA_BUNDLE": "/corp.pem",
        "MLXD_SERVER__API_KEY": "secret",
        "MLXD_SERVER__PORT": "8081",
        "HF_HOME": "/hf",
    }
    assert carried(environ) == {
        "MLXD_HOME": str(tmp_path),
        "HF_HOME": "/hf",
        "HTTPS_PROXY": "http://proxy:3128",
        "MLXD_SERVER__PORT": "8081",
        "SSL_CERT_FILE": "/corp.pem",
    }


def test_paths_of_this_shell_hold_where_the_daemon_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "ada"))
    environ = {"HF_HOME": "~/hf", "XDG_DATA_HOME": "data", "MLXD_SERVER__SOCKET": "s.sock"}
    environ["MLXD_MODELS__DIRS"] = "a,~/b"
    made = describe(Mode.AT_LOGIN, carried(environ)).environment
    assert made["HF_HOME"] == f"{tmp_path}/ada/hf"
    assert made["XDG_DATA_HOME"] == f"{tmp_path}/data"
    assert made["MLXD_SERVER__SOCKET"] == f"{tmp_path}/s.sock"
    assert made["MLXD_MODELS__DIRS"] == f"{tmp_path}/a,{tmp_path}/ada/b"


def test_on_demand_exits_when_idle_unless_the_configuration_says_when(home: Path) -> None:
    named = describe(Mode.ON_DEMAND, {}).environment
    assert named == {"MLXD_SERVER__IDLE_EXIT": "10m"}
    assert describe(Mode.AT_LOGIN, {}).environment == {}
    (home / "config.toml").write_text('server.idle_exit = "5s"')
    assert describe(Mode.ON_DEMAND, {}).environment == {}
