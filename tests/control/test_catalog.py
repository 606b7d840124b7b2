"""The models on disk, listed, shown and removed."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mlxd import paths, prompt_files
from mlxd.config import Config, EngineConfig, ModelsConfig
from mlxd.control.catalog import CatalogControl
from mlxd.errors import ModelInUse, ModelNotFound, NotRemovable
from mlxd.messages import Load
from mlxd.models.catalog import Catalog, CatalogEntry
from mlxd.pool.engine_process import EngineProcess
from mlxd.pool.pool import Pool
from tests.fakes.model_folder import LLAMA, add_model, add_to_cache
from tests.support.pool import fake_command, open_pool, start_engine, until


def link(file: Path, target: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    file.symlink_to(target)


async def test_the_list_tells_whole_and_broken_models_apart(
    models: Path, control: CatalogControl
) -> None:
    add_model(models / "owner" / "a")
    (add_model(models / "b", parts=2) / "model-00001-of-00002.safetensors").unlink()
    found = control.models()
    (whole,) = found.models
    assert (whole.id, whole.architecture, whole.state) == ("owner/a", "llama", "unloaded")
    assert (whole.origin, whole.default) == ("models directory", True)
    (broken,) = found.broken
    assert (broken.id, broken.path) == ("b", str(models / "b"))
    assert broken.fault.startswith("partial: 1 of 2 weight files")
    assert broken.size_bytes == sum(file.stat().st_size for file in (models / "b").iterdir())


async def test_a_model_is_shown_with_what_its_folder_says(
    models: Path, control: CatalogControl, catalog: Catalog
) -> None:
    folder = add_model(models / "owner" / "a", LLAMA | {"torch_dtype": "float32"})
    template = "{% if tools %}{% endif %}{% if enable_thinking %}<think>{% endif %}"
    (folder / "chat_template.jinja").write_text(template)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A")
    catalog.set_aliases({"x": "a", "y": "owner/a", "z": "b"})
    shown = await control.show("y")
    assert (shown.id, shown.parameters, shown.license) == ("owner/a", 4, "mit")
    assert shown.template is not None
    assert (shown.template.tools, shown.template.thinking) == (True, True)
    assert shown.aliases == ["x", "y"]
    assert shown.cached_tokens == 1024
    assert shown.cache_bytes == 1024 * 2 * 2 * 64 * 4
    assert shown.memory_bytes == shown.size_bytes + shown.cache_bytes


async def test_before_a_model_is_loaded_what_fits_is_an_estimate(
    models: Path, catalog: Catalog
) -> None:
    add_model(models / "a", LLAMA | {"max_position_embeddings": 10**6, "head_dim": 64})
    add_model(models / "b", LLAMA | {"model_type": "llama4"})
    add_model(models / "c", {"model_type": "llama", "max_position_embeddings": 10**6})
    fits = []
    for bits in (0, 8):
        config = Config(models=ModelsConfig(memory_limit=10**9), engine=EngineConfig(kv_bits=bits))
        control = CatalogControl(catalog, Pool(config))
        a, b, c = [await control.show(name) for name in "abc"]
        assert (a.kv_bits, a.batched, b.batched) == (bits, None, False)
        assert b.context_fits == b.context_length == 4096
        assert c.context_fits is None
        fits.append(a.context_fits or 0)
    room = 10**9 - 40_000_000 - 100_000_000
    assert fits[0] == pytest.approx(room * 3 / 4 / 1.5 / 2048, rel=0.01)  # two layers, one twice
    assert fits[1] == pytest.approx(fits[0] * 16 / 8.5, rel=0.01)


async def test_what_fits_in_a_loaded_model_is_what_its_engine_says(
    models: Path, catalog: Catalog
) -> None:
    add_model(models / "a")

    async def launch(entry: CatalogEntry, report: Callable[[float], None]) -> EngineProcess:
        return await start_engine(entry.id, Load(str(entry.path)), report, fake_command("alone"))

    async with open_pool(launch) as pool:
        control = CatalogControl(catalog, pool)
        async with pool.lease(catalog.resolve("a")) as engine:
            await until(lambda: not engine.link.batched)
            shown = await control.show("a")
    assert (shown.context_fits, shown.batched, shown.kv_bits) == (77, False, 8)


async def test_a_broken_model_is_shown_with_its_fault(
    models: Path, control: CatalogControl
) -> None:
    (add_model(models / "a") / "config.json").write_text("{")
    shown = await control.show("a")
    assert shown.fault is not None
    assert "its config.json is not a JSON object" in shown.fault
    assert (shown.architecture, shown.memory_bytes) == (None, None)


async def test_a_model_is_removed_whole_or_broken(models: Path, control: CatalogControl) -> None:
    folder = add_model(models / "owner" / "a")
    os.truncate(add_model(models / "owner" / "b") / "model.safetensors", 5)
    size = (folder / "model.safetensors").stat().st_size
    would = await control.remove("a", dry_run=True)
    assert folder.is_dir()
    assert would == await control.remove("owner/a", dry_run=False)
    assert (would.id, would.path, would.size_bytes) == ("owner/a", str(folder), size)
    assert os.listdir(models / "owner") == ["b"]
    await control.remove("owner/b", dry_run=False)
    assert os.listdir(models) == []


async def test_a_removal_names_the_default_and_the_aliases_of_the_model(
    models: Path, control: CatalogControl, catalog: Catalog
) -> None:
    add_model(models / "a")
    catalog.set_default("a")
    catalog.set_aliases({"x": "a"})
    removed = await control.remove("x", dry_run=False)
    assert (removed.id, removed.default, removed.aliases) == ("a", True, ["x"])
    with pytest.raises(ModelNotFound):
        await control.remove("a", dry_run=False)


async def test_the_prompts_of_a_model_go_with_it(
    models: Path, control: CatalogControl, hub_cache: Path
) -> None:
    for name, model in {"a": "owner/a", "b": "b"}.items():
        folder = paths.prompts_dir() / (name * 32)
        folder.mkdir(parents=True)
        info = prompt_files.FolderInfo(model, adapter="x")
        (folder / prompt_files.INFO).write_bytes(msgspec.json.encode(info))
    add_to_cache(hub_cache, "owner/a")
    for left in (["a" * 32, "b" * 32], ["b" * 32]):
        add_model(models / "owner" / "a")
        await control.remove("owner/a", dry_run=False)
        assert sorted(os.listdir(paths.prompts_dir())) == left
        shutil.rmtree(hub_cache, ignore_errors=True)


async def test_of_a_link_only_the_link_is_removed(
    models: Path, control: CatalogControl, tmp_path: Path
) -> None:
    folder = add_model(tmp_path / "elsewhere" / "a")
    link(models / "a", folder)
    assert (await control.remove("a", dry_run=False)).link
    assert os.listdir(models) == []
    assert (folder / "model.safetensors").is_file()


async def test_a_model_in_use_is_not_removed(
    models: Path, control: CatalogControl, catalog: Catalog, pool: Pool
) -> None:
    folder = add_model(models / "a")
    model = pool.model(catalog.resolve("a"))
    model.hold()
    with pytest.raises(ModelInUse, match=r"a is in memory; unload it first: mlxctl unload a"):
        await control.remove("a", dry_run=False)
    assert folder.is_dir()
    model.release()
    await control.remove("a", dry_run=False)
    assert not folder.exists()


async def test_a_model_that_requests_wait_for_is_not_removed(
    models: Path, catalog: Catalog
) -> None:
    for name in ("a", "b"):
        add_model(models / name)
    pool = Pool(Config(models=ModelsConfig(max_loaded=1)))
    busy, awaited = (pool.model(catalog.resolve(name)) for name in ("a", "b"))
    busy.hold()
    request = asyncio.create_task(pool.admission.acquire(awaited))
    await asyncio.sleep(0)
    with pytest.raises(ModelInUse, match=r"b has waiting requests; unload it first"):
        await CatalogControl(catalog, pool).remove("b", dry_run=False)
    request.cancel()
    await asyncio.wait([request])
    assert (await CatalogControl(catalog, pool).remove("b", dry_run=False)).id == "b"
    busy.release()
    await pool.close()


async def test_a_model_outside_the_models_directory_is_not_removed(
    models: Path, hub_cache: Path, pool: Pool, tmp_path: Path
) -> None:
    add_to_cache(hub_cache, "owner/cached")
    add_model(tmp_path / "mine" / "a")
    elsewhere = add_model(tmp_path / "elsewhere" / "b").parent
    link(models / "linked", elsewhere)
    control = CatalogControl(Catalog(ModelsConfig(dirs=[str(tmp_path / "mine")])), pool)
    for name, word in {
        "cached": "the Hugging Face cache, .*: hf cache rm model/owner/cached",
        "a": f"a folder of models.dirs, .*: {tmp_path}/mine/a",
        "linked/b": f"behind the link {models}/linked, .*: {elsewhere}/b",
    }.items():
        with pytest.raises(NotRemovable, match=word):
            await control.remove(name, dry_run=False)
    assert len(control.models().models) == 3


async def test_a_folder_that_cannot_be_deleted_is_an_error(
    models: Path, control: CatalogControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_model(models / "a")

    def refuse(_folder: Path, _target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(NotRemovable, match="models/a cannot be removed: Permission denied"):
        await control.remove("a", dry_run=False)
    assert [model.id for model in control.models().models] == ["a"]
