"""A removal that an earlier daemon began is finished at the next start."""

import os
from pathlib import Path

from mlxd.models import removal
from tests.fakes.model_folder import add_model


def test_folders_that_were_put_aside_are_deleted(models: Path, tmp_path: Path) -> None:
    elsewhere = add_model(tmp_path / "elsewhere" / "c")
    add_model(models / "stays")
    for folder in (add_model(models / "a"), add_model(models / "owner" / "b")):
        removal.put_aside(folder)
    (models / "linked").symlink_to(elsewhere)
    removal.put_aside(models / "linked")
    removal.sweep()
    assert os.listdir(models) == ["stays"]
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
