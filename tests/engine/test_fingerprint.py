"""The fingerprint changes with whatever changes a cache, and with nothing else."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import mlxd
from mlxd.engine import fingerprint as module
from mlxd.engine.disk_cache import DiskCache
from mlxd.engine.fingerprint import fingerprint
from mlxd.prompt_files import FolderInfo
from tests.fakes.model_folder import add_model
from tests.support.prompt_nodes import chain

MIB = 2**20


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    add_model(folder)
    (folder / "tokenizer.json").write_text('{"version": 1}')
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    (folder / "README.md").write_text("# A model")
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapters.safetensors").write_bytes(b"weights")
    return folder


def append(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        with (folder / name).open("a") as stream:
            stream.write(" ")

    return change


@pytest.mark.parametrize(
    "change",
    [
        append("config.json"),
        append("model.safetensors"),
        append("tokenizer.json"),
        append("chat_template.jinja"),
        append("additional_chat_templates/tools.jinja"),
        lambda folder: (folder / "modeling.py").touch(),
        lambda folder: (folder / "tokenizer.json").unlink(),
        lambda folder: (folder / "tokenizer.json").rename(folder / "vocab.json"),
    ],
    ids=["config", "weights", "tokenizer", "template", "named template", "code", "less", "renamed"],
)
def test_a_change_of_the_model_changes_it(model: Path, change: Callable[[Path], object]) -> None:
    before = fingerprint(model)
    change(model)
    assert fingerprint(model) != before


def test_adapters_and_settings_change_it(model: Path, adapter: Path) -> None:
    found = {
        fingerprint(model),
        fingerprint(model, kv_bits=4),
        fingerprint(model, kv_bits=8),
        fingerprint(model, kv_bits=8, kv_group_size=64),
        fingerprint(model, adapter),
        fingerprint(adapter),
    }
    (adapter / "adapters.safetensors").write_bytes(b"trained further")
    assert len(found | {fingerprint(model, adapter)}) == 7


def test_the_place_and_what_is_for_people_do_not_change_it(model: Path, tmp_path: Path) -> None:
    before = fingerprint(model, kv_bits=4, dtype="float16")
    (model / "README.md").write_text("# Another text")
    (model / ".DS_Store").touch()
    os.utime(model / "config.json", (1, 1))
    copy = shutil.copytree(model, tmp_path / "copy")
    assert fingerprint(copy, dtype="float16", kv_bits=4) == before
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in model.iterdir():
        (linked / file.name).symlink_to(file)
    assert fingerprint(linked, dtype="float16", kv_bits=4) == before


def test_of_a_large_file_the_size_the_time_and_samples_count(model: Path) -> None:
    weights = model / "model.safetensors"
    with weights.open("wb") as stream:
        stream.truncate(1000 * MIB)
    os.utime(weights, (1, 1))
    found = {fingerprint(model)}
    for place in (0, 1000 * MIB - 1):
        with weights.open("r+b") as stream:
            stream.seek(place)
            stream.write(b"x")
        os.utime(weights, (1, 1))
        found.add(fingerprint(model))
    os.utime(weights, (2, 2))
    found.add(fingerprint(model))
    with weights.open("ab") as stream:
        stream.write(b"x")
    os.utime(weights, (2, 2))
    found.add(fingerprint(model))
    assert len(found) == 5


def test_an_upgrade_of_mlxd_keeps_the_cache_and_one_of_mlx_lm_drops_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = chain([1, 2], [3])

    def found() -> list[bool]:
        cache = DiskCache(tmp_path / "prompts", fingerprint(model), 10**9, FolderInfo("tiny"))
        there = [cache.read(each.key) == each for each in nodes]
        for each in nodes:
            cache.write(each)
        cache.close(30)
        return there

    assert found() == [False, False]
    monkeypatch.setattr(mlxd, "__version__", "99.0")
    assert found() == [True, True]
    with monkeypatch.context() as patch:
        patch.setattr(module.metadata, "version", lambda name: {"mlx-lm": "99.0"}[name])
        assert found() == [False, False]
    with monkeypatch.context() as patch:
        patch.setattr(module, "FORMAT", "mlxd-prompt-99")
        assert found() == [False, False]
    assert found() == [True, True]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        fingerprint(tmp_path / "gone")
