"""Which models there are, and which one a request means."""

import json
import os
from pathlib import Path

import pytest

from mlxd.config import Models
from mlxd.errors import InvalidRequest, ModelNotFound
from mlxd.models.catalog import Adapter, Catalog


def add_model(folder: Path, config: object = None) -> Path:
    folder.mkdir(parents=True)
    text = json.dumps({"model_type": "llama"} if config is None else config)
    (folder / "config.json").write_text(text)
    (folder / "model.safetensors").write_bytes(b"12345")
    return folder


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models directory of an empty home."""
    monkeypatch.setenv("MLXD_HOME", str(tmp_path))
    return tmp_path / "models"


def add_adapter(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapters.safetensors").write_bytes(b"12345")
    return folder


def ids(catalog: Catalog) -> list[str]:
    return [entry.id for entry in catalog.entries()]


def test_each_sub_folder_with_a_config_and_weights_is_a_model(models: Path) -> None:
    add_model(models / "b")
    add_model(models / "a")
    add_model(models / ".a.partial")
    (models / "no-config").mkdir()
    (models / "a-file").write_text("")
    (add_model(models / "no-weights") / "model.safetensors").unlink()
    (add_model(models / "broken") / "config.json").write_text("{")
    assert ids(Catalog(Models())) == ["a", "b"]


def test_an_entry_says_what_its_config_says(models: Path) -> None:
    add_model(
        models / "q",
        {"model_type": "qwen3", "max_position_embeddings": 512, "quantization": {"bits": 4}},
    )
    (entry,) = Catalog(Models()).entries()
    assert (entry.architecture, entry.quantization, entry.context_length, entry.size_bytes) == (
        "qwen3",
        "4-bit",
        512,
        5,
    )


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines"])
def test_a_name_that_cannot_be_shown_is_left_out_with_a_remark(
    models: Path, caplog: pytest.LogCaptureFixture, name: bytes
) -> None:
    add_model(models / "a")
    try:
        add_model(models / os.fsdecode(name))
    except OSError:
        pytest.skip("this file system has no such names")
    catalog = Catalog(Models())
    assert ids(catalog) == ids(catalog) == ["a"]
    (remark,) = caplog.messages
    assert "is left out: its name is not UTF-8, or cannot be printed" in remark
    assert remark.isprintable()


@pytest.mark.parametrize("content", ["{", "[1]", "null", "[" * 100_000, ""])
def test_a_config_that_is_no_object_is_left_out_with_a_remark(
    models: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    add_model(models / "a")
    broken = add_model(models / "broken")
    (broken / "config.json").write_text(content)
    assert ids(Catalog(Models())) == ["a"]
    (remark,) = caplog.messages
    assert f"{str(broken)!r} is left out: its config.json is not a JSON object" in remark


def test_a_config_that_is_no_file_is_never_read(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = add_model(models / "a")
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert ids(Catalog(Models())) == []
    assert "is left out: its config.json is no file, or too large" in caplog.text


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": None, "max_position_embeddings": "many", "quantization": []},
        {"model_type": 5, "max_position_embeddings": -1, "quantization": {"bits": True}},
        {"max_position_embeddings": 10**30, "quantization": {"bits": "4"}},
    ],
)
def test_absurd_values_of_a_config_are_not_shown(models: Path, config: object) -> None:
    add_model(models / "a", config)
    (entry,) = Catalog(Models()).entries()
    shown = entry.architecture, entry.context_length, entry.quantization
    assert shown == ("unknown", None, None)


def test_a_model_that_comes_or_goes_is_seen(models: Path) -> None:
    catalog = Catalog(Models())
    assert ids(catalog) == []
    folder = add_model(models / "new")
    assert ids(catalog) == ["new"]
    (folder / "config.json").unlink()
    assert ids(catalog) == []


def test_configured_dirs_hold_models_or_are_one(models: Path, tmp_path: Path) -> None:
    add_model(models / "here")
    add_model(tmp_path / "elsewhere" / "there")
    one = add_model(tmp_path / "one")
    missing = tmp_path / "missing"
    dirs = [str(tmp_path / "elsewhere"), str(one), str(missing)]
    assert ids(Catalog(Models(dirs=dirs))) == ["here", "one", "there"]


@pytest.mark.parametrize("name", [None, "", "default_model"])
def test_no_name_means_the_only_model(models: Path, name: str | None) -> None:
    add_model(models / "only")
    assert Catalog(Models()).resolve(name).id == "only"


def test_no_name_means_the_configured_default(models: Path) -> None:
    add_model(models / "a")
    add_model(models / "b")
    assert Catalog(Models(default="b")).resolve(None).id == "b"
    catalog = Catalog(Models(default="b"))
    catalog.set_default("a")
    assert catalog.resolve(None).id == "a"


def test_an_alias_is_a_name(models: Path) -> None:
    add_model(models / "smollm2-135m")
    catalog = Catalog(Models(aliases={"small": "smollm2-135m"}))
    assert catalog.resolve("small").id == "smollm2-135m"


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
        Catalog(Models(default=default)).resolve(name)
    assert message in caught.value.message
    assert caught.value.param == "model"


def test_without_any_model_it_says_how_to_get_one(models: Path) -> None:
    catalog = Catalog(Models())
    assert catalog.default() is None
    with pytest.raises(ModelNotFound, match="mlxctl import"):
        catalog.resolve("anything")


def test_an_adapter_is_found_by_the_name_of_its_folder(models: Path) -> None:
    folder = add_adapter(models.parent / "adapters" / "pirate")
    assert Catalog(Models()).adapter("pirate") == Adapter("pirate", folder)
    assert ids(Catalog(Models())) == []


@pytest.mark.parametrize("name", ["", ".", "..", "pirat", ".hidden", "no-weights", "no-config"])
def test_what_is_no_adapter_is_told_with_what_there_is(models: Path, name: str) -> None:
    adapters = models.parent / "adapters"
    add_adapter(adapters / "poet")
    add_adapter(adapters / "pirate")
    add_adapter(adapters / ".hidden")
    (add_adapter(adapters / "no-weights") / "adapters.safetensors").unlink()
    (add_adapter(adapters / "no-config") / "adapter_config.json").unlink()
    with pytest.raises(InvalidRequest) as caught:
        Catalog(Models()).adapter(name)
    assert caught.value.message == f"adapter {name!r} does not exist; there is pirate, poet"
    assert caught.value.param == "adapters"


def test_the_path_of_an_adapter_is_no_name_of_it(models: Path) -> None:
    folder = add_adapter(models.parent / "adapters" / "pirate")
    outside = add_adapter(models.parent / "outside")
    for name in (str(folder), "../adapters/pirate", "pirate/", "./pirate", "../outside"):
        with pytest.raises(InvalidRequest, match="there is pirate"):
            Catalog(Models()).adapter(name)
    with pytest.raises(InvalidRequest, match="there is pirate"):
        Catalog(Models()).adapter(str(outside))


def test_without_any_adapter_it_says_so(models: Path) -> None:
    with pytest.raises(InvalidRequest, match="'pirate' does not exist; none is installed"):
        Catalog(Models()).adapter("pirate")
