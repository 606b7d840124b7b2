"""The models there are, and which one a name means."""

from pathlib import Path

import pytest

from mlxd.config import ModelsConfig
from mlxd.errors import ModelNotFound
from mlxd.models.catalog import Catalog, CatalogEntry
from tests.fakes.model_folder import LLAMA, add_model, add_to_cache, write_safetensors


def ids(catalog: Catalog) -> list[str]:
    return [entry.id for entry in catalog.entries()]


def test_an_entry_has_the_facts_of_its_config_and_weights(models: Path) -> None:
    folder = add_model(models / "q", LLAMA | {"quantization": {"bits": 4}, "dtype": "bfloat16"})
    (entry,) = Catalog(ModelsConfig()).entries()
    size = (folder / "model.safetensors").stat().st_size
    token_bytes = 2 * 2 * 64 * 2
    assert entry == CatalogEntry(
        id="q",
        path=folder,
        created=int((folder / "config.json").stat().st_mtime),
        size_bytes=size,
        architecture="llama",
        quantization="4-bit",
        context_length=4096,
        cache_bytes=1024 * token_bytes,
    )


def test_plain_weights_have_their_type_as_quantization(models: Path) -> None:
    folder = add_model(models / "a", LLAMA | {"dtype": "float16"})
    write_safetensors(folder / "model.safetensors", {"a": ("U8", [3]), "b": ("F32", [2])})
    assert Catalog(ModelsConfig()).resolve("a").quantization == "float32"


@pytest.mark.parametrize("context", ["many", -1, 10**30, True, None])
def test_an_invalid_context_length_is_none(models: Path, context: object) -> None:
    add_model(models / "a", LLAMA | {"max_position_embeddings": context})
    assert Catalog(ModelsConfig()).resolve("a").context_length is None


@pytest.mark.parametrize("name", [None, "", "default_model"])
def test_no_name_means_the_only_model(models: Path, name: str | None) -> None:
    add_model(models / "only")
    assert Catalog(ModelsConfig()).resolve(name).id == "only"


def test_models_in_the_hub_cache_count_only_if_there_is_no_other(
    models: Path, hub_cache: Path
) -> None:
    add_to_cache(hub_cache, "owner/a")
    assert Catalog(ModelsConfig()).resolve(None).id == "owner/a"
    add_model(models / "own")
    assert Catalog(ModelsConfig()).resolve(None).id == "own"


def test_no_name_means_the_configured_default(models: Path) -> None:
    add_model(models / "a")
    add_model(models / "b")
    assert Catalog(ModelsConfig(default="b")).resolve(None).id == "b"
    catalog = Catalog(ModelsConfig(default="b"))
    catalog.set_default("a")
    assert catalog.resolve(None).id == "a"


def test_an_alias_names_a_model(models: Path) -> None:
    add_model(models / "smollm2-135m")
    catalog = Catalog(ModelsConfig(aliases={"small": "smollm2-135m"}))
    assert catalog.resolve("small").id == "smollm2-135m"


def test_the_name_of_a_folder_names_a_model_unless_it_is_ambiguous(models: Path) -> None:
    add_model(models / "owner" / "a")
    add_model(models / "owner" / "b")
    catalog = Catalog(ModelsConfig(aliases={"x": "a"}))
    assert catalog.resolve("a").id == catalog.resolve("x").id == "owner/a"
    add_model(models / "other" / "a")
    with pytest.raises(ModelNotFound, match="'a' is ambiguous: use other/a or owner/a"):
        catalog.resolve("a")
    add_model(models / "a")
    assert catalog.resolve("a").id == "a"


def test_an_alias_does_not_hide_a_model_of_that_name(models: Path) -> None:
    add_model(models / "a")
    add_model(models / "b")
    assert Catalog(ModelsConfig(aliases={"a": "b"})).resolve("a").id == "a"


@pytest.mark.parametrize("name", ["../owner/a", "owner/../owner/a", "/owner/a", "x/a", "owner/"])
def test_what_is_no_name_names_no_model(models: Path, name: str) -> None:
    add_model(models / "owner" / "a")
    with pytest.raises(ModelNotFound):
        Catalog(ModelsConfig()).resolve(name)


@pytest.mark.parametrize(
    ("name", "default", "message"),
    [
        ("tinny", "", "model 'tinny' does not exist; did you mean tiny?"),
        ("zzz", "", "model 'zzz' does not exist; installed: other, tiny"),
        ("../tiny", "", "did you mean tiny?"),
        (None, "", "several models are installed: request one of other, tiny"),
        (None, "gone", "model 'gone' does not exist"),
    ],
)
def test_an_unknown_model_is_an_error_that_lists_what_there_is(
    models: Path, name: str | None, default: str, message: str
) -> None:
    add_model(models / "tiny")
    add_model(models / "other")
    with pytest.raises(ModelNotFound) as caught:
        Catalog(ModelsConfig(default=default)).resolve(name)
    assert message in caught.value.message
    assert caught.value.param == "model"


def test_of_many_models_the_error_lists_only_some(models: Path) -> None:
    for number in range(12):
        add_model(models / f"model-{number:02}")
    with pytest.raises(ModelNotFound, match=r"installed: model-00, .*, model-07 and 4 more"):
        Catalog(ModelsConfig()).resolve("zzz")


def test_without_any_model_the_error_says_how_to_add_one(models: Path) -> None:
    catalog = Catalog(ModelsConfig())
    assert catalog.default() is None
    with pytest.raises(ModelNotFound, match="mlxctl import"):
        catalog.resolve("anything")
