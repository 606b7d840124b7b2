"""Adapters are found by name, and fit the models they were made for."""

import json
from pathlib import Path

import pytest

from mlxd.config import ModelsConfig
from mlxd.errors import InvalidRequest
from mlxd.models.adapters import Adapter
from mlxd.models.catalog import Catalog
from mlxd.models.details import read_details
from tests.fakes.model_folder import add_model


def add_adapter(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapters.safetensors").write_bytes(b"12345")
    return folder


def test_an_adapter_is_found_by_the_name_of_its_folder(models: Path) -> None:
    folder = add_adapter(models.parent / "adapters" / "pirate")
    assert Catalog(ModelsConfig()).adapter("pirate") == Adapter("pirate", folder)
    assert Catalog(ModelsConfig()).entries() == []


@pytest.mark.parametrize("name", ["", ".", "..", "pirat", ".hidden", "no-weights", "no-config"])
def test_an_unknown_adapter_is_an_error_that_lists_what_there_is(models: Path, name: str) -> None:
    adapters = models.parent / "adapters"
    add_adapter(adapters / "poet")
    add_adapter(adapters / "pirate")
    add_adapter(adapters / ".hidden")
    (add_adapter(adapters / "no-weights") / "adapters.safetensors").unlink()
    (add_adapter(adapters / "no-config") / "adapter_config.json").unlink()
    with pytest.raises(InvalidRequest) as caught:
        Catalog(ModelsConfig()).adapter(name)
    assert caught.value.message == f"adapter {name!r} does not exist; installed: pirate, poet"
    assert caught.value.param == "adapters"


def test_a_path_names_no_adapter(models: Path) -> None:
    folder = add_adapter(models.parent / "adapters" / "pirate")
    outside = add_adapter(models.parent / "outside")
    for name in (str(folder), "../adapters/pirate", "pirate/", "./pirate", "../outside"):
        with pytest.raises(InvalidRequest, match="installed: pirate"):
            Catalog(ModelsConfig()).adapter(name)
    with pytest.raises(InvalidRequest, match="installed: pirate"):
        Catalog(ModelsConfig()).adapter(str(outside))


def test_without_any_adapter_the_error_says_so(models: Path) -> None:
    with pytest.raises(InvalidRequest, match="'pirate' does not exist; none is installed"):
        Catalog(ModelsConfig()).adapter("pirate")


def test_an_adapter_fits_the_model_it_was_made_for(models: Path) -> None:
    add_model(models / "owner" / "a")
    for name, config in {
        "by-id": {"model": "owner/a"},
        "by-path": {"model": "/home/ada/a/"},
        "foreign": {"model": "owner/b"},
        "nameless": {"rank": 8},
    }.items():
        folder = add_adapter(models.parent / "adapters" / name)
        (folder / "adapter_config.json").write_text(json.dumps(config))
    folder = add_adapter(models.parent / "adapters" / "torn")
    (folder / "adapter_config.json").write_text("{")
    assert read_details(Catalog(ModelsConfig()).resolve("a")).adapters == ["by-id", "by-path"]
