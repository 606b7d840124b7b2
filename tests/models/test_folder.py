"""Broken models are listed with the reason, and never served."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxd.config import Config, ModelsConfig, ModelSettings
from mlxd.errors import ModelNotFound
from mlxd.models.catalog import Catalog
from tests.fakes.model_folder import LLAMA, add_model, add_to_cache, write_safetensors

PART = "model-00002-of-00003.safetensors"


def fault(catalog: Catalog) -> str:
    """Return the fault of the only folder, and check that it is never served."""
    assert catalog.entries() == []
    (broken,) = catalog.broken()
    with pytest.raises(ModelNotFound) as caught:
        catalog.resolve(broken.id)
    assert caught.value.message == f"model {broken.id!r} is broken: {broken.fault}"
    return broken.fault


def cut_short(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def cut_in_the_header(file: Path) -> None:
    os.truncate(file, 20)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def write_pointer(file: Path) -> None:
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 5\n")


def write_text(file: Path) -> None:
    file.write_text("<html>not found</html>")


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (Path.unlink, "is missing"),
        (empty, "is empty"),
        (cut_short, "is cut short: 125 of 126 bytes"),
        (cut_in_the_header, "is cut short"),
        (write_pointer, "is a Git LFS pointer. Run: git lfs pull"),
        (write_text, "is not a safetensors file"),
    ],
)
def test_a_missing_or_damaged_part_is_named(
    models: Path, damage: Callable[[Path], None], word: str
) -> None:
    damage(add_model(models / "a", parts=3) / PART)
    assert fault(Catalog(ModelsConfig())) == (
        f"partial: 1 of 3 weight files are missing or damaged: {PART} {word}"
    )


def test_a_missing_part_is_noticed_without_an_index_too(models: Path) -> None:
    folder = add_model(models / "a", parts=3)
    (folder / "model.safetensors.index.json").unlink()
    (folder / PART).unlink()
    assert f"1 of 3 weight files are missing or damaged: {PART}" in fault(Catalog(ModelsConfig()))


def write_index(folder: Path, *files: object) -> None:
    """Write an index that names `files`, or one that is no JSON object if there are none."""
    weights = {f"layer.{number}.weight": file for number, file in enumerate(files)}
    text = json.dumps({"metadata": {}, "weight_map": weights}) if files else "{"
    (folder / "model.safetensors.index.json").write_text(text)


@pytest.mark.parametrize(
    "files",
    [
        pytest.param([f"model-{n:05}-of-00013.safetensors" for n in range(1, 14)], id="nativ#370"),
        pytest.param(["model.safetensors"], id="mlx-vlm#1827"),
        pytest.param(["consolidated.safetensors", "vae/model-1.safetensors", 3], id="foreign"),
        pytest.param([], id="broken"),
    ],
)
def test_an_index_left_over_from_other_weights_is_ignored(
    models: Path, files: list[object]
) -> None:
    write_index(add_model(models / "a", parts=4), *files)
    assert Catalog(ModelsConfig()).resolve("a").size_bytes > 0


def test_a_file_that_an_index_names_beside_others_is_missing(models: Path) -> None:
    folder = add_model(models / "a")
    write_index(folder, "model.safetensors", "model-extra.safetensors")
    assert fault(Catalog(ModelsConfig())) == (
        "partial: 1 of 2 weight files are missing or damaged: model-extra.safetensors is missing"
    )
    (folder / "model.safetensors").unlink()
    assert fault(Catalog(ModelsConfig())) == "it has no weights (model*.safetensors)"


def test_of_many_missing_parts_two_are_named(models: Path) -> None:
    for part in sorted(add_model(models / "a", parts=9).glob("*.safetensors"))[1:]:
        part.unlink()
    assert fault(Catalog(ModelsConfig())).endswith(
        "8 of 9 weight files are missing or damaged: model-00002-of-00009.safetensors is "
        "missing, model-00003-of-00009.safetensors is missing, …"
    )


def test_a_single_file_that_is_cut_short_is_named(models: Path) -> None:
    cut_short(add_model(models / "a") / "model.safetensors")
    assert (
        fault(Catalog(ModelsConfig()))
        == "partial: model.safetensors is cut short: 125 of 126 bytes"
    )


def test_a_folder_that_has_only_an_index_is_a_model_without_weights(models: Path) -> None:
    for part in add_model(models / "a", parts=2).glob("model-*"):
        part.unlink()
    catalog = Catalog(ModelsConfig())
    assert fault(catalog) == "it has no weights (model*.safetensors)"
    assert [model.stray for model in catalog.broken()] == [False]


@pytest.mark.parametrize(
    ("header", "word"),
    [
        (b"[" * 100_000, "is not a safetensors file"),
        (b'{"a": {"data_offsets": [0, "x"]}}', "is not a safetensors file"),
        (
            b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
            "is cut short: 69 of 73 bytes",
        ),
    ],
)
def test_an_invalid_header_is_named(models: Path, header: bytes, word: str) -> None:
    file = add_model(models / "a") / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    assert fault(Catalog(ModelsConfig())) == f"partial: model.safetensors {word}"


@pytest.mark.parametrize("content", ["{", "[1]", "null", "[" * 100_000, ""])
def test_a_config_that_is_not_an_object_is_logged_once(
    models: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    folder = add_model(models / "a")
    (folder / "config.json").write_text(content)
    catalog = Catalog(ModelsConfig())
    assert fault(catalog).startswith("its config.json is not a JSON object")
    assert fault(catalog)
    (warning,) = caplog.messages
    assert f"{str(folder)!r} is ignored: its config.json is not a JSON object" in warning


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "chat_template.jinja"])
def test_a_pipe_or_a_device_is_never_read(models: Path, name: str) -> None:
    """The engine would wait for the one, and read the other for ever."""
    file = add_model(models / "a") / name
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    assert fault(Catalog(ModelsConfig())) == f"its {name} is not a regular file"
    file.unlink()
    file.symlink_to("/dev/zero")
    assert fault(Catalog(ModelsConfig())) == f"its {name} is not a regular file"


@pytest.mark.parametrize(
    "content",
    [b'{"model_type": "llama", "x": [' + b"{}," * 1_000_001 + b"{}]}", b'{"x": "' + bytes(2**25)],
    ids=["values", "bytes"],
)
def test_a_huge_config_is_not_decoded(models: Path, content: bytes) -> None:
    """That would stop every thread for seconds, and take gigabytes."""
    (add_model(models / "a") / "config.json").write_bytes(content)
    assert fault(Catalog(ModelsConfig())) == "its config.json is too large"


def test_a_header_with_millions_of_values_is_not_decoded(models: Path) -> None:
    header = b'{"a":{"dtype":"F16","shape":[' + b"1," * 1_000_001 + b'1],"data_offsets":[0,2]}}'
    content = len(header).to_bytes(8, "little") + header + bytes(2)
    (add_model(models / "a") / "model.safetensors").write_bytes(content)
    reason = "partial: model.safetensors has too many tensors"
    assert fault(Catalog(ModelsConfig())) == reason


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({}, "its config.json has no model_type"),
        ({"model_type": None, "model_file": "x.py"}, "its config.json has no model_type"),
        ({"model_type": 5}, "its config.json has no model_type"),
        ({"model_type": "bert"}, "mlx-lm has no architecture 'bert'"),
        ({"model_type": "../llama"}, "mlx-lm has no architecture '../llama'"),
    ],
)
def test_an_unknown_architecture_is_a_fault(models: Path, config: object, word: str) -> None:
    add_model(models / "a", config)
    assert fault(Catalog(ModelsConfig())) == word


@pytest.mark.parametrize(
    "files",
    [
        *(["tokenizer.json"], ["tokenizer.model"], ["tekken.json"], ["vocab.json", "merges.txt"]),
        *(["spiece.model"], ["tokenizer.model.v3"], ["vocab.txt"]),
    ],
)
def test_a_tokenizer_may_be_any_of_several_files(models: Path, files: list[str]) -> None:
    folder = add_model(models / "a")
    (folder / "tokenizer.json").unlink()
    for file in files:
        (folder / file).write_text("")
    assert Catalog(ModelsConfig()).resolve("a").id == "a"


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("tokenizer_config.json", "it has no tokenizer"),
        ("qwen.tiktoken", "its tokenizer needs Python code of the model's own, which is not there"),
        ("tokenizer.jsonl", "its tokenizer needs Python code of the model's own"),
        ("rwkv_vocab_v20230424.txt", "its tokenizer needs Python code of the model's own"),
    ],
)
def test_a_model_without_a_tokenizer_is_broken(models: Path, file: str, why: str) -> None:
    (add_model(models / "a") / "tokenizer.json").rename(models / "a" / file)
    assert fault(Catalog(ModelsConfig())).startswith(why)


def test_a_model_with_its_own_code_is_served_only_if_it_is_trusted(models: Path) -> None:
    add_model(models / "a", {"model_type": "mine", "model_file": "mine.py"})
    (add_model(models / "b") / "tokenizer.json").rename(models / "b" / "qwen.tiktoken")
    (models / "b" / "tokenization_qwen.py").touch()
    configured = Config(model={"a": ModelSettings(trust_remote_code=True)})
    assert Catalog(ModelsConfig(), configured.trusts).resolve("a").architecture == "mine"
    broken = {each.id: each.fault for each in Catalog(ModelsConfig()).broken()}
    how = ", which runs only if you trust it: set trust_remote_code = true under [model.{}]"
    assert broken == {
        "a": "its config.json names Python code of its own (model_file)" + how.format("a"),
        "b": "its tokenizer needs Python code of its own" + how.format("b"),
    }


def test_code_and_pickles_that_are_left_alone_are_no_fault(models: Path) -> None:
    """mlx_lm reads safetensors, and transformers tokenizer.json, whatever lies beside them."""
    folder = add_model(models / "a", LLAMA | {"auto_map": {"AutoModel": "modeling_a.AutoModel"}})
    for name in ("modeling_a.py", "pytorch_model.bin", "optimizer.pt"):
        (folder / name).touch()
    assert Catalog(ModelsConfig()).resolve("a").own_code is None


@pytest.mark.parametrize(
    ("files", "word"),
    [
        (["README.md"], "it has no config.json"),
        (["q4.gguf"], "it has GGUF files, which `mlxctl import FILE.gguf` converts"),
        (["config.json", "pytorch_model.bin"], "it has PyTorch weights, not safetensors"),
        (["config.json", "consolidated.safetensors"], "it has no weights (model*.safetensors)"),
        (
            ["adapters.safetensors", "config.json"],
            "it is an adapter; those of mlx_lm go into the adapters directory",
        ),
    ],
)
def test_anything_else_in_the_models_directory_is_listed_as_broken(
    models: Path, files: list[str], word: str
) -> None:
    (models / "a").mkdir(parents=True)
    for file in files:
        (models / "a" / file).write_text(json.dumps(LLAMA))
    assert fault(Catalog(ModelsConfig())).startswith(word)


def test_strays_in_other_directories_are_not_listed(
    models: Path, hub_cache: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    (mine / "gguf").mkdir(parents=True)
    (mine / "gguf" / "q4.gguf").write_text("")
    add_model(mine / "bert", {"model_type": "bert"})
    (add_to_cache(hub_cache, "owner/tokenizer") / "model.safetensors").unlink()
    cut_short(add_model(mine / "cut") / "model.safetensors")
    (add_to_cache(hub_cache, "owner/part", parts=3) / PART).unlink()
    catalog = Catalog(ModelsConfig(dirs=[str(mine)]))
    assert [model.id for model in catalog.broken()] == ["cut", "owner/part"]
    with pytest.raises(ModelNotFound, match="'bert' is broken: mlx-lm has no architecture 'bert'"):
        catalog.resolve("bert")


def test_a_usable_model_of_the_same_name_is_preferred(models: Path, hub_cache: Path) -> None:
    cut_short(add_model(models / "owner" / "a") / "model.safetensors")
    whole = add_to_cache(hub_cache, "owner/a")
    catalog = Catalog(ModelsConfig())
    assert catalog.resolve("owner/a").path == catalog.resolve("a").path == whole
    assert [model.path for model in catalog.broken()] == [models / "owner" / "a"]
    assert catalog.find_own("a").path == models / "owner" / "a"


def test_damage_and_repair_are_noticed_at_once(models: Path) -> None:
    folder = add_model(models / "a", parts=3)
    catalog = Catalog(ModelsConfig())

    def is_whole() -> bool:
        return [entry.id for entry in catalog.entries()] == ["a"]

    assert is_whole()
    (folder / PART).rename(folder / "away")
    assert f"{PART} is missing" in fault(catalog)
    (folder / "away").rename(folder / PART)
    assert is_whole()
    cut_short(folder / PART)
    assert f"{PART} is cut short" in fault(catalog)
    write_safetensors(folder / PART, {"layer.1.weight": ("BF16", [4])})
    assert is_whole()
    (folder / "config.json").write_text("{")
    assert "its config.json is not a JSON object" in fault(catalog)


def test_an_unchanged_folder_is_read_once(models: Path) -> None:
    file = add_model(models / "a") / "config.json"
    catalog = Catalog(ModelsConfig())
    entry = catalog.resolve("a")
    before = file.stat()
    file.write_bytes(b"x" * before.st_size)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert catalog.resolve("a") == entry
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert "its config.json is not a JSON object" in fault(catalog)
