import os
import re
import stat
import tomllib
from pathlib import Path

import pytest

from mlxd.config import (
    Config,
    GenerationConfig,
    ModelSettings,
    load,
    read_settings,
    render_default,
    write_settings,
)
from mlxd.config.keys import KEYS
from mlxd.errors import ConfigError


def test_the_default_file_changes_nothing(home: Path) -> None:
    (home / "config.toml").write_text(render_default())
    assert load(environ={}) == Config()


def test_the_default_file_has_every_key_with_its_default(home: Path) -> None:
    text = re.sub(r"^#(?=\w)", "", render_default(), flags=re.MULTILINE)
    (home / "config.toml").write_text(text)
    assert load(environ={}) == Config()
    table = tomllib.loads(text)
    assert {(section, key) for section, keys in table.items() for key in keys} == set(KEYS)


def test_the_example_for_one_model_works(home: Path) -> None:
    text = re.sub(r"^#   ", "", render_default(), flags=re.MULTILINE)
    (home / "config.toml").write_text(text)
    example = load(environ={}).for_model("OWNER/NAME")
    assert example == ModelSettings(generation=GenerationConfig(max_tokens=2048, temperature=0.7))
    shown = tomllib.loads(text)["model"]["OWNER/NAME"]
    assert set(shown) == set(ModelSettings.__struct_fields__)


def test_every_key_is_described_in_one_line() -> None:
    for key in KEYS.values():
        assert key.description, key.path
        assert re.fullmatch(r"[A-Z].{1,97}\.", key.description), key.path
        assert f"# {key.description}\n#{key.path[1]} = " in render_default()


def test_a_setting_is_written_and_the_others_stay(home: Path) -> None:
    write_settings({"models.default": "a", "models.keep_alive": "1h"})
    write_settings({"models.default": "b", "server.port": 0})
    config = load(environ={})
    assert (config.models.default, config.models.keep_alive, config.server.port) == ("b", 3600, 0)
    write_settings({"models.default": None, "log.keep": None})
    assert load(environ={}).models.default == ""


def test_a_table_changes_by_its_names(home: Path) -> None:
    write_settings({"models.aliases": {"a": "x", "b": "y"}})
    write_settings({"models.aliases": {"b": None, "c": "z"}})
    assert read_settings() == {"models": {"aliases": {"a": "x", "c": "z"}}}
    write_settings({"models.aliases": {"a": None, "c": None}})
    assert read_settings() == {"models": {}}


def test_only_the_owner_can_read_the_file_and_nothing_else_is_left(
    tmp_path: Path, home: Path
) -> None:
    write_settings({"models.default": "a"})
    assert os.listdir(home) == ["settings.toml"]
    assert stat.S_IMODE((home / "settings.toml").stat().st_mode) == 0o600


def test_a_missing_folder_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLXD_HOME", str(tmp_path / "new"))
    write_settings({"models.default": "a"})
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("models.defualt", "a", "models.defualt: unknown key; did you mean models.default?"),
        ("server.port", "a", 'server.port: found "a", expected an integer from 0 to 65535'),
    ],
)
def test_a_bad_change_leaves_the_file_alone(
    home: Path, name: str, value: object, message: str
) -> None:
    write_settings({"models.default": "a"})
    with pytest.raises(ConfigError) as caught:
        write_settings({"models.default": "b", name: value})
    assert caught.value.message == f"{home / 'settings.toml'}: {message}"
    assert tomllib.loads((home / "settings.toml").read_text()) == {"models": {"default": "a"}}


def test_a_broken_file_is_not_overwritten(home: Path) -> None:
    (home / "settings.toml").write_text("models = [")
    with pytest.raises(ConfigError, match=r"settings\.toml: not valid TOML"):
        write_settings({"models.default": "a"})
    assert (home / "settings.toml").read_text() == "models = ["


def test_a_folder_that_cannot_be_written_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "file"
    (tmp_path / "home").mkdir()
    blocker.symlink_to(tmp_path / "home" / "missing" / "missing")
    monkeypatch.setenv("MLXD_HOME", str(blocker))
    with pytest.raises(ConfigError, match=r"settings\.toml: cannot be written: "):
        write_settings({"models.default": "a"})
