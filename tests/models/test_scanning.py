"""The catalog is read beside the event loop, whatever the disk does."""

import json
import os
import threading
from pathlib import Path

import pytest

from mlxd.config import ModelsConfig
from mlxd.errors import LoadFailed, ModelNotFound
from mlxd.models import catalog as catalog_module
from mlxd.models.catalog import Catalog
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


async def test_a_disk_that_hangs_stops_nobody(
    models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add_model(models / "a")
    catalog = Catalog(ModelsConfig())
    await catalog.refresh()
    answers, usual = threading.Event(), catalog_module.candidates

    def hanging(dirs: list[str]) -> list:
        answers.wait(20)
        return list(usual(dirs))

    monkeypatch.setattr(catalog_module, "candidates", hanging)
    for setting in ("_FRESH_SECONDS", "_LONG_WAIT"):
        monkeypatch.setattr(catalog_module, setting, 0.0)
    monkeypatch.setattr("mlxd.models.scanning._SLOW_SECONDS", 0.0)
    threads = threading.active_count()
    for _ in range(3):
        await catalog.refresh("a")
        assert catalog.resolve("a").id == "a"
    assert threading.active_count() == threads + 1
    assert caplog.text.count("do not answer") == 1
    with pytest.raises(LoadFailed, match="do not answer"):
        await Catalog(ModelsConfig()).refresh()
    add_model(models / "b")
    monkeypatch.setattr(catalog_module, "_LONG_WAIT", 20)
    answers.set()
    await catalog.refresh("b")
    assert catalog.resolve("b").id == "b"
