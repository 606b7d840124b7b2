"""The catalog is read beside the event loop, whatever the disk does."""

import asyncio
import errno
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from mlxd.config import Config, ModelsConfig
from mlxd.errors import LoadFailed, ModelNotFound
from mlxd.models.catalog import BrokenEntry, Catalog, CatalogEntry
from mlxd.models.entry import Candidate, Origin
from mlxd.models.folder import FolderReader
from mlxd.models.selection import Selection
from tests.fakes.model_folder import add_model


@pytest.mark.parametrize("name", ["model.safetensors", "generation_config.json", "README.md"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(models: Path, name: str) -> None:
    folder = add_model(models / "a")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    catalog = Catalog(ModelsConfig())
    assert len(catalog.entries()) + len(catalog.broken()) == 1


def test_an_index_of_many_names_is_read_once(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = add_model(models / "a")
    names = {f"t{n}": f"model-{n}.safetensors" for n in range(60_000)}
    names["x"] = "model.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    catalog = Catalog(ModelsConfig())
    (broken,) = catalog.broken()
    assert "missing or damaged" in broken.fault
    monkeypatch.setattr("mlxd.models.folder.read_weights", None)
    assert catalog.broken() == [broken]


@pytest.mark.parametrize("name", ["m" * 3_000_000, "/a" * 1_000_000])
def test_a_name_of_any_length_is_soon_unknown(models: Path, name: str) -> None:
    add_model(models / "a")
    with pytest.raises(ModelNotFound) as caught:
        Catalog(ModelsConfig()).resolve(name)
    assert len(caught.value.message) < 500


async def test_a_refresh_finds_what_has_changed(models: Path) -> None:
    catalog = Catalog(ModelsConfig())
    await catalog.refresh()
    add_model(models / "a")
    await catalog.refresh("a")  # unknown until now, so it is looked for
    assert catalog.resolve("a").id == "a"
    (models / "a" / "config.json").unlink()
    await catalog.refresh("b")
    with pytest.raises(ModelNotFound):
        catalog.resolve("a")


class Volume:
    """Makes whatever lists a folder below `root` wait until `answers` is set."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers = threading.Event()
        usual = os.scandir

        def scandir(folder: Path) -> Iterator[os.DirEntry[str]]:
            if Path(folder).is_relative_to(root):
                self.answers.wait(20)
            return usual(folder)

        monkeypatch.setattr("mlxd.models.search_path.os.scandir", scandir)


async def until_silent(catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for what is not there, until nobody waits for the volume any more."""
    monkeypatch.setattr("mlxd.models.scanning._SLOW_SECONDS", 0.2)
    monkeypatch.setattr("mlxd.models.roots._LONG_WAIT", 0.05)
    while str(folder) not in catalog.silent:
        await catalog.refresh("nothing")


async def test_a_volume_that_hangs_stops_nobody_and_is_seen_again(
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    volume = Volume(tmp_path / "volume", monkeypatch)
    add_model(tmp_path / "volume" / "far")
    add_model(models / "near")
    catalog = Catalog(ModelsConfig(dirs=[str(tmp_path / "volume")]))
    threads = threading.active_count()
    await until_silent(catalog, tmp_path / "volume", monkeypatch)
    for name in ("a", "b"):
        add_model(models / name)
        await catalog.refresh(name)
        assert catalog.resolve(name).id == name
    while threading.active_count() > threads + 1:  # those that have answered come to their end
        await asyncio.sleep(0)
    assert catalog.unread == [str(tmp_path / "volume")]
    assert catalog.unread[0] in catalog.silent
    assert caplog.text.count("volume does not answer") == 1
    with pytest.raises(ModelNotFound, match="volume does not answer"):
        catalog.resolve("far")
    with pytest.raises(LoadFailed, match="volume does not answer"):
        await Selection(catalog, Config()).settled_model("far")

    volume.answers.set()
    while str(tmp_path / "volume") in catalog.silent:
        await catalog.refresh("far")
    assert catalog.resolve("far").id == "far"
    assert "volume answers again" in caplog.text
    volume.answers.clear()
    await until_silent(catalog, tmp_path / "volume", monkeypatch)
    assert catalog.resolve("far").id == "far"
    volume.answers.set()


async def test_without_any_answer_it_is_an_error(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = Volume(models.parent, monkeypatch)
    monkeypatch.setattr("mlxd.models.roots._LONG_WAIT", 0.01)
    with pytest.raises(LoadFailed, match="do not answer"):
        await Catalog(ModelsConfig()).refresh()
    volume.answers.set()


async def test_what_a_path_leads_to_is_looked_up_in_a_thread(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = add_model(models / "a")
    (tmp_path / "link").symlink_to(folder)
    catalog = Catalog(ModelsConfig())
    await catalog.refresh(str(tmp_path / "link"))
    with monkeypatch.context() as patched:
        patched.setattr(os.path, "realpath", None)  # nobody may touch the disk here
        assert catalog.resolve(str(tmp_path / "link")).id == "a"
        assert catalog.resolve(str(folder) + "/").id == "a"
        with pytest.raises(ModelNotFound):
            catalog.resolve(str(tmp_path))


async def test_without_free_descriptors_the_models_stay(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_model(models / "a")
    catalog = Catalog(ModelsConfig())
    await catalog.refresh()
    error = OSError(errno.EMFILE, "Too many open files")
    for broken in ("search_path.os.scandir", "folder.os.listdir", "model_config.open_regular"):
        (models / "a" / "config.json").touch()
        with monkeypatch.context() as patched:
            patched.setattr(f"mlxd.models.{broken}", Mock(side_effect=error))
            await catalog.refresh("unknown")
        assert catalog.resolve("a").id == "a", broken


def test_a_model_that_the_disk_kept_back_for_a_moment_is_read_again(models: Path) -> None:
    folder, now = add_model(models / "a"), 0.0
    reader = FolderReader(lambda: now)
    candidate = Candidate("a", folder, Origin.MODELS_DIR)
    with pytest.MonkeyPatch.context() as patched:
        error = OSError(errno.EIO, "Input/output error")
        patched.setattr("mlxd.models.weights.open_regular", Mock(side_effect=error))
        assert isinstance(reader.read(candidate), BrokenEntry)
    assert isinstance(reader.read(candidate), BrokenEntry)
    now = 31.0
    assert isinstance(reader.read(candidate), CatalogEntry)
