"""One model has many names; a name never means another model."""

import json
from pathlib import Path

import pytest

from mlxd.config import ModelsConfig
from mlxd.errors import ModelNotFound
from mlxd.models.catalog import Catalog
from tests.fakes.model_folder import add_model, add_to_cache


@pytest.mark.parametrize(
    "name",
    [
        *("Owner/Tiny-4bit", "Tiny-4bit", "owner/tiny-4bit", "TINY-4BIT", "tiny-4bit:latest"),
        *("Owner/Tiny-4bit/", "hf.co/Owner/Tiny-4bit", "https://hf.co/owner/tiny-4bit?library=mlx"),
        *("hf://Owner/Tiny-4bit@main", "https://huggingface.co/Owner/Tiny-4bit/tree/main"),
    ],
)
def test_a_model_has_many_names(models: Path, name: str) -> None:
    """LM Studio gives names in lower case, Ollama's clients add `:latest`."""
    add_model(models / "Owner" / "Tiny-4bit")
    add_model(models / "other")
    assert Catalog(ModelsConfig()).resolve(name).id == "Owner/Tiny-4bit"


@pytest.mark.parametrize("folder", ["tiny", "acme--tiny", "Tiny", "acme/tiny"])
def test_a_folder_without_its_owner_has_the_name_that_the_hub_has(
    models: Path, folder: str
) -> None:
    add_model(models / folder)
    catalog = Catalog(ModelsConfig(aliases={"small": "acme/tiny"}))
    assert catalog.resolve("acme/tiny").id == catalog.resolve("Small").id == folder


@pytest.mark.parametrize("name", ["acme/tiny", "tiny-4bit", "tin", "acme", "tiny:4b", "acme/"])
def test_a_model_of_another_owner_or_size_is_another_model(models: Path, name: str) -> None:
    add_model(models / "other" / "tiny")
    with pytest.raises(ModelNotFound):
        Catalog(ModelsConfig()).resolve(name)


def test_an_ambiguous_name_lists_the_models(models: Path) -> None:
    for owner in "ab":
        add_model(models / owner / "Tiny")
    add_model(models / "c" / "tiny")
    catalog = Catalog(ModelsConfig())
    assert catalog.resolve("tiny").id == "c/tiny"
    with pytest.raises(ModelNotFound, match="'TINY' is ambiguous: use a/Tiny or b/Tiny or c/tiny"):
        catalog.resolve("TINY")


def test_the_path_of_a_models_folder_is_a_name(models: Path, hub_cache: Path) -> None:
    """As `mlx_lm server` and its clients name models that are not on the hub."""
    folder = add_model(models / "owner" / "a")
    (models / "link").symlink_to(folder)
    catalog = Catalog(ModelsConfig())
    assert catalog.resolve(str(folder)).path == folder
    assert catalog.resolve(f"{models}/link/").id == "link"
    cached = add_to_cache(hub_cache, "owner/b")
    assert catalog.resolve(str(cached)).id == "owner/b"
    for path in ("/", "/etc", str(models), "~/a", "/\0", "/\ud800"):
        with pytest.raises(ModelNotFound):
            catalog.resolve(path)


def test_a_name_with_a_revision_means_no_other_revision(models: Path, hub_cache: Path) -> None:
    commit = "0a1b2c3d4e"
    folder = add_model(models / "acme" / "tiny")
    record = {"repo": "acme/tiny", "revision": "v1", "commit": commit, "files": []}
    (folder / ".mlxd-pull.json").write_text(json.dumps(record))
    add_to_cache(hub_cache, "acme/cached", commit)
    catalog = Catalog(ModelsConfig())
    for name in ("acme/tiny@v1", "tiny@v1", f"acme/tiny@{commit}", "acme/tiny@0a1b2c3"):
        assert catalog.resolve(name).id == "acme/tiny"
    assert catalog.resolve("acme/cached@main").id == "acme/cached"
    hint = "acme/tiny is not at revision 'v2'; to replace it by that one: mlxctl pull acme/tiny@v2"
    with pytest.raises(ModelNotFound, match=hint):
        catalog.resolve("acme/tiny@v2")
    for name in ("acme/tiny@main", "acme/cached@v1", "acme/cached@../../refs/main", "acme/tiny@"):
        with pytest.raises(ModelNotFound):
            catalog.resolve(name)


@pytest.mark.parametrize("name", ["https://hf.co/datasets/a/b", "https://github.com/acme/tiny"])
def test_an_address_of_something_else_says_what_it_is(models: Path, name: str) -> None:
    add_model(models / "tiny")
    with pytest.raises(ModelNotFound, match=r"is a data set|is not on the hub"):
        Catalog(ModelsConfig()).resolve(name)
