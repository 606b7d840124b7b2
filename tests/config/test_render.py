import re
import tomllib
from pathlib import Path

from mlxd.config import Config, GenerationConfig, ModelSettings, load, render_default
from mlxd.config.keys import KEYS


def test_the_default_file_changes_nothing(home: Path) -> None:
    (home / "config.toml").write_text(render_default())
    assert load(environ={}) == Config()


def test_uncommented_the_default_file_is_every_key_with_its_default(home: Path) -> None:
    text = re.sub(r"^#(?=\w)", "", render_default(), flags=re.MULTILINE)
    (home / "config.toml").write_text(text)
    assert load(environ={}) == Config()
    table = tomllib.loads(text)
    assert {(section, key) for section, keys in table.items() for key in keys} == set(KEYS)


def test_the_example_for_one_model_works(home: Path) -> None:
    text = re.sub(r"^#   ", "", render_default(), flags=re.MULTILINE)
    (home / "config.toml").write_text(text)
    example = load(environ={}).for_model("some/id")
    assert example == ModelSettings(generation=GenerationConfig(max_tokens=2048, temperature=0.7))
    shown = tomllib.loads(text)["model"]["some/id"]
    assert set(shown) == set(ModelSettings.__struct_fields__)


def test_every_key_says_what_it_does_in_a_line() -> None:
    for key in KEYS.values():
        assert key.meta.description, key.path
        assert re.fullmatch(r"[A-Z].{1,97}\.", key.meta.description), key.path
        assert f"# {key.meta.description}\n#{key.path[1]} = " in render_default()
