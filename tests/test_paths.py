from pathlib import Path

import platformdirs
import pytest

from mlxd import paths
from mlxd.errors import ConfigError

EVERY = [
    paths.config_file,
    paths.settings_file,
    paths.models_dir,
    paths.adapters_dir,
    paths.prompts_dir,
    paths.log_file,
    paths.stderr_file,
    paths.chat_history_file,
    paths.socket_file,
    paths.lock_file,
    paths.run_record_file,
]


def test_mlxd_home_holds_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLXD_HOME", str(tmp_path))
    assert [str(path().relative_to(tmp_path)) for path in EVERY] == [
        "config.toml",
        "settings.toml",
        "models",
        "adapters",
        "cache/prompts",
        "logs/mlxd.log",
        "logs/mlxd.stderr.log",
        "chat_history",
        "run/mlxd.sock",
        "run/mlxd.lock",
        "run/mlxd.run.json",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_relative_home_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLXD_HOME", ".mlxd")
    assert paths.home() == tmp_path / ".mlxd"
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("MLXD_HOME", "~/mlxd")
    assert paths.home() == Path("/home/me/mlxd")


@pytest.mark.parametrize(
    ("value", "fault"), [("~nobody-here/x", "there is no such user"), ("/caf\udce9", "not UTF-8")]
)
def test_a_home_that_cannot_be_is_told(
    monkeypatch: pytest.MonkeyPatch, value: str, fault: str
) -> None:
    monkeypatch.setenv("MLXD_HOME", value)
    with pytest.raises(ConfigError, match=f"MLXD_HOME: .*: {fault}") as caught:
        paths.home()
    assert caught.value.message.encode()


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_home_platformdirs_decides(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("MLXD_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("MLXD_HOME", value)
    assert paths.home() is None
    assert paths.config_dir() == platformdirs.user_config_path("mlxd", appauthor=False)
    assert paths.models_dir().parent == platformdirs.user_data_path("mlxd", appauthor=False)
    assert paths.cache_dir() == platformdirs.user_cache_path("mlxd", appauthor=False)
    assert paths.log_dir() == platformdirs.user_log_path("mlxd", appauthor=False)
    assert len({path() for path in EVERY}) == len(EVERY)


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HF_HUB_CACHE": "/c", "HF_HOME": "/h"}, "/c"),
        ({"HF_HUB_CACHE": "", "HF_HOME": "/h"}, "/h/hub"),
        ({"HF_HOME": "~/h"}, "/home/me/h/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({}, "/home/me/.cache/huggingface/hub"),
    ],
)
def test_the_hubs_cache_is_where_its_own_programs_have_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str
) -> None:
    for name in ("MLXD_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert paths.hub_cache_dir() == Path(folder)


def test_a_home_of_its_own_has_the_hubs_cache_only_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLXD_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert paths.hub_cache_dir() is None
    monkeypatch.setenv("HF_HOME", "/h")
    assert paths.hub_cache_dir() == Path("/h/hub")
