"""Where models are looked for, and when a change is noticed."""

import os
from pathlib import Path

import pytest

from mlxd.config import ModelsConfig
from mlxd.models.catalog import Catalog
from tests.fakes.model_folder import add_model


def ids(catalog: Catalog) -> list[str]:
    return [entry.id for entry in catalog.entries()]


def test_each_folder_with_a_config_and_weights_is_a_model(models: Path) -> None:
    add_model(models / "b")
    add_model(models / "a")
    add_model(models / ".a.partial")
    add_model(models / "owner" / "c")
    add_model(models / "owner" / ".d.partial")
    (models / "empty").mkdir()
    (models / "a-file").write_text("")
    assert ids(Catalog(ModelsConfig())) == ["a", "b", "owner/c"]


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines"])
def test_an_unprintable_name_is_ignored_with_a_warning(
    models: Path, caplog: pytest.LogCaptureFixture, name: bytes
) -> None:
    add_model(models / "a")
    try:
        add_model(models / os.fsdecode(name))
    except OSError:
        pytest.skip("this file system allows no such names")
    catalog = Catalog(ModelsConfig())
    assert ids(catalog) == ids(catalog) == ["a"]
    (warning,) = caplog.messages
    assert "is ignored: its name is not UTF-8, or not printable" in warning
    assert warning.isprintable()


def test_a_model_that_is_added_or_removed_is_noticed(models: Path) -> None:
    catalog = Catalog(ModelsConfig())
    assert ids(catalog) == []
    folder = add_model(models / "new")
    assert ids(catalog) == ["new"]
    (folder / "config.json").unlink()
    assert ids(catalog) == []


def test_a_model_that_is_added_beside_others_is_noticed(models: Path) -> None:
    add_model(models / "owner" / "a")
    catalog = Catalog(ModelsConfig())
    assert ids(catalog) == ["owner/a"]
    add_model(models / "b")
    add_model(models / "owner" / "c")
    assert ids(catalog) == ["b", "owner/a", "owner/c"]


def test_models_dirs_hold_models_or_are_one(models: Path, tmp_path: Path) -> None:
    add_model(models / "here")
    add_model(tmp_path / "elsewhere" / "there")
    one = add_model(tmp_path / "one")
    missing = tmp_path / "missing"
    dirs = [str(tmp_path / "elsewhere"), str(one), str(missing)]
    assert ids(Catalog(ModelsConfig(dirs=dirs))) == ["here", "one", "there"]


def test_of_two_models_with_the_same_id_the_first_counts(models: Path, tmp_path: Path) -> None:
    add_model(models / "a")
    first = add_model(tmp_path / "elsewhere" / "a")
    (entry,) = Catalog(ModelsConfig(dirs=[str(tmp_path / "elsewhere")])).entries()
    assert entry.path == first
