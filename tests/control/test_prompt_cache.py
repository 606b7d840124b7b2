"""The prompt cache on disk as engines leave it, shown and cleared by the daemon."""

import os
from pathlib import Path

import pytest

from mlxd import paths
from mlxd.control.prompt_cache import PromptCacheControl
from mlxd.control_api import CachedPrompts
from mlxd.engine.disk_cache import DiskCache
from mlxd.engine.node_file import StoredNode
from mlxd.errors import ModelNotFound, NotRemovable
from mlxd.models.catalog import Catalog
from mlxd.prompt_files import FolderInfo, usage
from tests.fakes.model_folder import add_model
from tests.support.prompt_nodes import chain

A, PIRATE, B = ("a" * 32, "ab" * 16, "b" * 32)


def fill(fingerprint: str, info: FolderInfo, nodes: list[StoredNode], used: int) -> int:
    """Fill a folder as an engine does; return its size."""
    cache = DiskCache(paths.prompts_dir(), fingerprint, 10**9, info)
    for each in nodes:
        cache.write(each)
    cache.close(30)
    folder = paths.prompts_dir() / fingerprint
    for file in folder.iterdir():
        os.utime(file, (used, used))
    return sum(each.size for each in usage(folder).values())


@pytest.fixture
def sizes(models: Path) -> dict[str, int]:
    add_model(models / "owner" / "a")
    return {
        A: fill(A, FolderInfo("owner/a"), chain([1, 2], [3]), used=1000),
        PIRATE: fill(PIRATE, FolderInfo("owner/a", "pirate"), chain([1]), used=3000),
        B: fill(B, FolderInfo("gone"), chain([1, 2]), used=2000),
    }


@pytest.fixture
def prompts(sizes: dict[str, int], catalog: Catalog) -> PromptCacheControl:
    return PromptCacheControl(catalog, paths.prompts_dir(), 5000)


async def left(prompts: PromptCacheControl) -> list[str]:
    return [each.fingerprint for each in (await prompts.show()).models]


async def test_each_fingerprint_is_shown_the_last_used_first(
    prompts: PromptCacheControl, sizes: dict[str, int]
) -> None:
    shown = await prompts.show()
    assert shown.models == [
        CachedPrompts(
            fingerprint=PIRATE,
            model="owner/a",
            adapter="pirate",
            files=1,
            tokens=1,
            size_bytes=sizes[PIRATE],
            last_used=3000,
        ),
        CachedPrompts(
            fingerprint=B, model="gone", files=1, tokens=2, size_bytes=sizes[B], last_used=2000
        ),
        CachedPrompts(
            fingerprint=A, model="owner/a", files=2, tokens=3, size_bytes=sizes[A], last_used=1000
        ),
    ]
    assert shown.folder == str(paths.prompts_dir())
    assert (shown.limit_bytes, shown.size_bytes) == (5000, sum(sizes.values()))


async def test_all_of_it_is_cleared(prompts: PromptCacheControl, sizes: dict[str, int]) -> None:
    removed = await prompts.clear()
    assert (removed.files, removed.size_bytes) == (4, sum(sizes.values()))
    assert await left(prompts) == []
    assert list(paths.prompts_dir().iterdir()) == []
    assert (await prompts.clear()).files == 0


@pytest.mark.parametrize(
    ("name", "rest"),
    [("owner/a", [B]), ("a", [B]), ("gone", [PIRATE, A]), ("a" * 8, [PIRATE, B])],
    ids=["id", "name", "a model that is gone", "fingerprint"],
)
async def test_a_model_is_cleared_by_its_names_or_a_fingerprint(
    prompts: PromptCacheControl, name: str, rest: list[str]
) -> None:
    await prompts.clear(name)
    assert await left(prompts) == rest


async def test_an_unknown_name_is_refused(prompts: PromptCacheControl) -> None:
    for name in ("nothing", "aa"):
        with pytest.raises(ModelNotFound):
            await prompts.clear(name)
    assert len(await left(prompts)) == 3


async def test_without_a_cache_nothing_is_shown(models: Path, catalog: Catalog) -> None:
    prompts = PromptCacheControl(catalog, paths.prompts_dir(), 0)
    shown = await prompts.show()
    assert (shown.models, shown.size_bytes, shown.limit_bytes) == ([], 0, 0)


async def test_a_file_system_that_refuses_is_told(
    prompts: PromptCacheControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(self))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(NotRemovable, match="cannot be removed: Operation not permitted"):
        await prompts.clear()


async def test_an_engine_that_runs_begins_anew(models: Path, catalog: Catalog) -> None:
    nodes = chain([1], [2])
    engine = DiskCache(paths.prompts_dir(), A, 10**9, FolderInfo("a"))
    for again in range(2):
        assert all(engine.write(each) for each in nodes), again
        assert engine.flush(30)
        await PromptCacheControl(catalog, paths.prompts_dir(), 1).clear()
        assert [engine.read(each.key) for each in nodes] == [None, None]
    engine.close(30)
