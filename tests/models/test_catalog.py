"""Which models there are, and which one a request means."""

import os
from pathlib import Path

import pytest

from mlxd.config import ModelsConfig
from mlxd.errors import InvalidRequest, ModelNotFound
from mlxd.models.catalog import Adapter, Catalog, CatalogEntry
from tests.fakes.model_folder import LLAMA, add_model, add_to_cache, write_safetensors


def add_adapter(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapters.safetensors").write_bytes(b"12345")
    return folder


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


def test_an_entry_says_what_its_config_and_weights_say(models: Path) -> None:
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


def test_weights_that_are_not_quantised_have_a_type(models: Path) -> None:
    folder = add_model(models / "a", LLAMA | {"dtype": "float16"})
    write_safetensors(folder / "model.safetensors", {"a": ("U8", [3]), "b": ("F32", [2])})
    assert Catalog(ModelsConfig()).resolve("a").quantization == "float32"


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines"])
def test_a_name_that_cannot_be_shown_is_left_out_with_a_remark(
    models: Path, caplog: pytest.LogCaptureFixture, name: bytes
) -> None:
    add_model(models / "a")
    try:
        add_model(models / os.fsdecode(name))
    except OSError:
        pytest.skip("this file system has no such names")
    catalog = Catalog(ModelsConfig())
    assert ids(catalog) == ids(catalog) == ["a"]
    (remark,) = caplog.messages
    assert "is left out: its name is not UTF-8, or cannot be printed" in remark
    assert remark.isprintable()


@pytest.mark.parametrize("context", ["many", -1, 10**30, True, None])
def test_an_absurd_context_is_none(models: Path, context: object) -> None:
    add_model(models / "a", LLAMA | {"max_position_embeddings": context})
    assert Catalog(ModelsConfig()).resolve("a").context_length is None


def test_a_model_that_comes_or_goes_is_seen(models: Path) -> None:
    catalog = Catalog(ModelsConfig())
    assert ids(catalog) == []
    folder = add_model(models / "new")
    assert ids(catalog) == ["new"]
    (folder / "config.json").unlink()
    assert ids(catalog) == []


def test_a_model_that_comes_to_a_folder_known_for_long_is_seen(models: Path) -> None:
    add_model(models / "owner" / "a")
    for folder in (models, models / "owner"):
        os.utime(folder, (1_700_000_000, 1_700_000_000))
    catalog = Catalog(ModelsConfig())
    assert ids(catalog) == ["owner/a"]
    add_model(models / "b")
    assert ids(catalog) == ["b", "owner/a"]
    add_model(models / "owner" / "c")
    assert ids(catalog) == ["b", "owner/a", "owner/c"]


def test_a_model_that_comes_within_a_tick_of_the_clock_is_seen(models: Path) -> None:
    add_model(models / "a")
    tick = models.stat().st_mtime_ns
    catalog = Catalog(ModelsConfig())
    assert ids(catalog) == ["a"]
    add_model(models / "b")
    os.utime(models, ns=(tick, tick))
    assert ids(catalog) == ["a", "b"]


def test_configured_dirs_hold_models_or_are_one(models: Path, tmp_path: Path) -> None:
    add_model(models / "here")
    add_model(tmp_path / "elsewhere" / "there")
    one = add_model(tmp_path / "one")
    missing = tmp_path / "missing"
    dirs = [str(tmp_path / "elsewhere"), str(one), str(missing)]
    assert ids(Catalog(ModelsConfig(dirs=dirs))) == ["here", "one", "there"]


def test_the_same_id_twice_is_the_first_one(models: Path, tmp_path: Path) -> None:
    add_model(models / "a")
    first = add_model(tmp_path / "elsewhere" / "a")
    (entry,) = Catalog(ModelsConfig(dirs=[str(tmp_path / "elsewhere")])).entries()
    assert entry.path == first


@pytest.mark.parametrize("name", [None, "", "default_model"])
def test_no_name_means_the_only_model(models: Path, name: str | None) -> None:
    add_model(models / "only")
    assert Catalog(ModelsConfig()).resolve(name).id == "only"


def test_no_name_means_the_only_model_outside_the_hubs_cache(models: Path, hub_cache: Path) -> None:
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


def test_an_alias_is_a_name(models: Path) -> None:
    add_model(models / "smollm2-135m")
    catalog = Catalog(ModelsConfig(aliases={"small": "smollm2-135m"}))
    assert catalog.resolve("small").id == "smollm2-135m"


def test_the_name_of_a_folder_is_a_name_where_it_is_the_only_one(models: Path) -> None:
    add_model(models / "owner" / "a")
    add_model(models / "owner" / "b")
    catalog = Catalog(ModelsConfig(aliases={"x": "a"}))
    assert catalog.resolve("a").id == catalog.resolve("x").id == "owner/a"
    add_model(models / "other" / "a")
    with pytest.raises(ModelNotFound, match="'a' may mean other/a or owner/a: name one"):
        catalog.resolve("a")
    add_model(models / "a")
    assert catalog.resolve("a").id == "a"


def test_an_alias_does_not_hide_a_model_of_that_name(models: Path) -> None:
    add_model(models / "a")
    add_model(models / "b")
    assert Catalog(ModelsConfig(aliases={"a": "b"})).resolve("a").id == "a"


@pytest.mark.parametrize("name", ["../owner/a", "owner/../owner/a", "/owner/a", "x/a", "owner/"])
def test_a_path_is_no_name(models: Path, name: str) -> None:
    add_model(models / "owner" / "a")
    with pytest.raises(ModelNotFound):
        Catalog(ModelsConfig()).resolve(name)


@pytest.mark.parametrize(
    ("name", "default", "message"),
    [
        ("tinny", "", "model 'tinny' does not exist; did you mean tiny?"),
        ("zzz", "", "model 'zzz' does not exist; there is other, tiny"),
        ("../tiny", "", "did you mean tiny?"),
        (None, "", "no default model is set: name one of other, tiny"),
        (None, "gone", "model 'gone' does not exist"),
    ],
)
def test_an_unknown_model_is_told_with_what_there_is(
    models: Path, name: str | None, default: str, message: str
) -> None:
    add_model(models / "tiny")
    add_model(models / "other")
    with pytest.raises(ModelNotFound) as caught:
        Catalog(ModelsConfig(default=default)).resolve(name)
    assert message in caught.value.message
    assert caught.value.param == "model"


def test_of_many_models_only_some_are_told(models: Path) -> None:
    for number in range(12):
        add_model(models / f"model-{number:02}")
    with pytest.raises(ModelNotFound, match=r"there is model-00, .*, model-07 and 4 more"):
        Catalog(ModelsConfig()).resolve("zzz")


def test_without_any_model_it_says_how_to_get_one(models: Path) -> None:
    catalog = Catalog(ModelsConfig())
    assert catalog.default() is None
    with pytest.raises(ModelNotFound, match="mlxctl import"):
        catalog.resolve("anything")


def test_an_adapter_is_found_by_the_name_of_its_folder(models: Path) -> None:
    folder = add_adapter(models.parent / "adapters" / "pirate")
    assert Catalog(ModelsConfig()).adapter("pirate") == Adapter("pirate", folder)
    assert ids(Catalog(ModelsConfig())) == []


@pytest.mark.parametrize("name", ["", ".", "..", "pirat", ".hidden", "no-weights", "no-config"])
def test_what_is_no_adapter_is_told_with_what_there_is(models: Path, name: str) -> None:
    adapters = models.parent / "adapters"
    add_adapter(adapters / "poet")
    add_adapter(adapters / "pirate")
    add_adapter(adapters / ".hidden")
    (add_adapter(adapters / "no-weights") / "adapters.safetensors").unlink()
    (add_adapter(adapters / "no-config") / "adapter_config.json").unlink()
    with pytest.raises(InvalidRequest) as caught:
        Catalog(ModelsConfig()).adapter(name)
    assert caught.value.message == f"adapter {name!r} does not exist; there is pirate, poet"
    assert caught.value.param == "adapters"


def test_the_path_of_an_adapter_is_no_name_of_it(models: Path) -> None:
    folder = add_adapter(models.parent / "adapters" / "pirate")
    outside = add_adapter(models.parent / "outside")
    for name in (str(folder), "../adapters/pirate", "pirate/", "./pirate", "../outside"):
        with pytest.raises(InvalidRequest, match="there is pirate"):
            Catalog(ModelsConfig()).adapter(name)
    with pytest.raises(InvalidRequest, match="there is pirate"):
        Catalog(ModelsConfig()).adapter(str(outside))


def test_without_any_adapter_it_says_so(models: Path) -> None:
    with pytest.raises(InvalidRequest, match="'pirate' does not exist; none is installed"):
        Catalog(ModelsConfig()).adapter("pirate")
