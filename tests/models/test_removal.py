"""Only models in the models directory can be removed; an interrupted removal is finished."""

import os
from pathlib import Path

import pytest

from mlxd.config import ModelsConfig
from mlxd.errors import NotRemovable
from mlxd.models import removal
from mlxd.models.catalog import Catalog
from tests.fakes.model_folder import add_model, add_to_cache


def test_only_models_in_the_models_directory_can_be_removed(
    models: Path, hub_cache: Path, tmp_path: Path
) -> None:
    add_model(models / "mine")
    add_to_cache(hub_cache, "owner/cached")
    theirs = add_model(tmp_path / "dirs" / "theirs")
    add_model(tmp_path / "disk" / "linked")
    (models / "owner").symlink_to(tmp_path / "disk")
    add_model(tmp_path / "lmstudio" / "owner" / "deep")
    (models / "lmstudio").symlink_to(tmp_path / "lmstudio")
    catalog = Catalog(ModelsConfig(dirs=[str(theirs.parent)]))
    removal.check_removable(catalog.find("mine"))
    for name, hint in {
        "owner/cached": "hf cache rm model/owner/cached",
        "theirs": f"remove it there: {theirs}",
        "owner/deep": f"behind the link {models}/lmstudio",
        "owner/linked": f"behind the link {models}/owner",
    }.items():
        with pytest.raises(NotRemovable, match=hint):
            removal.check_removable(catalog.find(name))


def test_folders_that_were_put_aside_are_deleted(models: Path, tmp_path: Path) -> None:
    elsewhere = add_model(tmp_path / "elsewhere" / "c")
    add_model(models / "stays")
    for folder in (models / "a", models / "owner" / "b", models / "disk" / "owner" / "c"):
        removal.put_aside(add_model(folder))
    (models / "linked").symlink_to(elsewhere)
    removal.put_aside(models / "linked")
    removal.sweep()
    assert sorted(os.listdir(models)) == ["disk", "stays"]
    assert os.listdir(models / "disk") == []
    assert (elsewhere / "config.json").is_file()


def test_nothing_else_is_deleted(models: Path, tmp_path: Path) -> None:
    removal.sweep()  # there is no models directory yet
    theirs = removal.put_aside(add_model(tmp_path / "theirs" / "a"))
    models.mkdir()
    (models / "owner").symlink_to(tmp_path / "theirs")
    hidden = add_model(models / ".hidden")
    removal.sweep()
    assert hidden.is_dir()
    assert theirs.is_dir()
