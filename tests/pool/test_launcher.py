"""Engines that are started as the configuration says; they are tests/fakes/engine.py."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mlxd.config import Config, EngineConfig, ModelSettings
from mlxd.messages import DiskCacheSettings, Load
from mlxd.models.catalog import Adapter
from mlxd.pool import engine_process
from mlxd.pool.engine_process import EngineProcess
from mlxd.pool.launcher import EngineLauncher
from tests.support.pool import fake_command, make_entry, until

A = make_entry("a")
ADAPTED = msgspec.structs.replace(A, adapter=Adapter("pirate", Path("/adapters/pirate")))


@pytest.fixture(autouse=True)
def spawned(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The pids of the fake engines that are spawned instead of real ones."""
    pids: list[int] = []
    spawn = EngineProcess.spawn

    async def spawn_fake(_command: object) -> EngineProcess:
        engine = await spawn(fake_command(""))
        pids.append(engine.pid)
        return engine

    monkeypatch.setattr(engine_process.EngineProcess, "spawn", spawn_fake)
    return pids


async def test_an_engine_is_told_of_the_model_and_its_adapter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads: list[tuple[str, Load]] = []

    async def load(_engine: EngineProcess, name: str, load: Load, _: object) -> None:
        loads.append((name, load))

    monkeypatch.setattr(EngineProcess, "load", load)
    launcher = EngineLauncher(Config(engine=EngineConfig(prompt_cache=77, hang_timeout=9)))
    for entry in (A, ADAPTED):
        engine = await launcher.launch(entry, lambda _: None)
        await engine.stop(grace=0)
    assert [(name, load.path, load.adapter_path) for name, load in loads] == [
        ("a", "/models/a", None),
        ("a with adapter pirate", "/models/a", "/adapters/pirate"),
    ]
    assert {(load.prompt_cache_bytes, load.hang_timeout) for _, load in loads} == {(77, 9)}


async def test_an_engine_is_told_how_to_quantize_the_caches_of_its_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads: list[Load] = []

    async def load(_engine: EngineProcess, name: str, load: Load, _: object) -> None:
        loads.append(load)

    monkeypatch.setattr(EngineProcess, "load", load)
    launcher = EngineLauncher(
        Config(
            engine=EngineConfig(kv_bits=8, kv_group_size=32, quantized_kv_start=7),
            model={"a": ModelSettings(kv_bits=4)},
        )
    )
    for entry in (A, make_entry("b")):
        engine = await launcher.launch(entry, lambda _: None)
        await engine.stop(grace=0)
    quantized = [(load.kv_bits, load.kv_group_size, load.quantized_kv_start) for load in loads]
    assert quantized == [(4, 32, 7), (8, 32, 7)]


@pytest.mark.parametrize("off", [{"prompt_cache_disk": 0}, {"prompt_cache": 0}])
async def test_an_engine_is_told_where_its_prompt_cache_is_on_disk(
    models: Path, monkeypatch: pytest.MonkeyPatch, off: dict[str, int]
) -> None:
    caches: list[DiskCacheSettings | None] = []

    async def load(_engine: EngineProcess, name: str, load: Load, _: object) -> None:
        caches.append(load.disk_cache)

    monkeypatch.setattr(EngineProcess, "load", load)
    folder = str(models.parent / "cache" / "prompts")
    for settings in (
        EngineConfig(prompt_cache_disk=9, prompt_cache_keep_free=5),
        EngineConfig(**off),
    ):
        engine = await EngineLauncher(Config(engine=settings)).launch(ADAPTED, lambda _: None)
        await engine.stop(grace=0)
    assert caches == [DiskCacheSettings(folder, 9, 5, "a", "pirate"), None]


async def test_a_spare_engine_takes_the_next_model(spawned: list[int]) -> None:
    launcher = EngineLauncher(Config(engine=EngineConfig(spare=True)))
    launcher.keep_spare()
    await until(lambda: launcher.spare is not None)
    launcher.keep_spare()
    engine = await launcher.launch(A, lambda _: None)
    assert spawned == [engine.pid]
    await engine.stop(grace=0)
    await launcher.close()


async def test_a_spare_engine_that_has_died_is_replaced(spawned: list[int]) -> None:
    launcher = EngineLauncher(Config(engine=EngineConfig(spare=True)))
    launcher.keep_spare()
    await until(lambda: launcher.spare is not None)
    launcher.spare.link.kill("for the test")
    await asyncio.wait([launcher.spare.exited])
    engine = await launcher.launch(A, lambda _: None)
    assert spawned[1:] == [engine.pid]
    await engine.stop(grace=0)
    await launcher.close()


async def test_close_stops_the_spare_engine(spawned: list[int]) -> None:
    launcher = EngineLauncher(Config(engine=EngineConfig(spare=True)))
    launcher.keep_spare()
    await until(lambda: launcher.spare is not None)
    spare = launcher.spare
    await launcher.close()
    assert spare.exited.done()
    launcher.keep_spare()
    await launcher.close()
    assert len(spawned) == 1
