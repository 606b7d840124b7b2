"""What is running, and where all files are."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxd.config import Config, ModelsConfig
from mlxd.control.status import StatusReporter
from mlxd.messages import Load
from mlxd.models.catalog import Catalog, CatalogEntry
from mlxd.pool.engine_link import EngineLink
from mlxd.pool.engine_process import EngineProcess
from mlxd.pool.pool import Pool
from tests.fakes.model_folder import add_model
from tests.support.pool import (
    DEADLINE,
    fake_command,
    first_delta,
    open_pool,
    start_engine,
    text,
    until,
)


def reporter(catalog: Catalog, pool: Pool) -> StatusReporter:
    return StatusReporter(catalog, pool, url="http://[::1]:8080", socket_file=Path("/run/s"))


async def test_it_names_the_default_model_and_where_the_daemon_listens(
    models: Path, catalog: Catalog, pool: Pool
) -> None:
    add_model(models / "a")
    status = await reporter(catalog, pool).read()
    assert (status.running, status.stopping) == (True, False)
    assert (status.url, status.socket) == ("http://[::1]:8080", "/run/s")
    assert (status.default_model, status.default_fault) == ("a", None)
    assert status.models_dir == str(models)
    assert status.memory_limit_bytes == pool.admission.limit


async def test_it_says_why_there_is_no_default_model(
    models: Path, catalog: Catalog, pool: Pool
) -> None:
    for name in ("a", "b"):
        add_model(models / name)
    status = await reporter(catalog, pool).read()
    assert status.default_model is None
    assert "several models are installed" in (status.default_fault or "")


async def test_it_lists_the_models_that_are_or_were_in_memory(
    models: Path, catalog: Catalog, pool: Pool
) -> None:
    add_model(models / "a")
    pool.model(catalog.resolve("a"))
    await pool.drain(0)
    status = await reporter(catalog, pool).read()
    assert [(model.id, model.state, model.pid) for model in status.models] == [
        ("a", "unloaded", None)
    ]
    assert status.stopping


async def launch(entry: CatalogEntry, report: Callable[[float], None]) -> EngineProcess:
    return await start_engine(entry.id, Load(str(entry.path)), report, fake_command("endless"))


async def test_a_busy_model_has_the_figures_of_now(
    models: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        add_model(models / name)
    limit = 10**9
    config = Config(models=ModelsConfig(max_loaded=1, memory_limit=limit))

    async def ping_at_once(link: EngineLink, _seconds: float) -> None:
        await link.ping(DEADLINE)

    monkeypatch.setattr(EngineLink, "update", ping_at_once)
    async with open_pool(launch, config) as pool:
        busy = pool.submit(catalog.resolve("a"), text("la"))
        await first_delta(busy)
        waiting = asyncio.create_task(first_delta(pool.submit(catalog.resolve("b"), text("la"))))
        await until(lambda: pool.admission.waiting(pool.model(catalog.resolve("b"))) == 1)
        a, b = (await reporter(catalog, pool).read()).models
        assert (a.id, a.requests, a.queued, a.tokens_per_second) == ("a", 1, 0, 10.0)
        assert (a.memory_bytes, a.cache_bytes, a.batched, a.kv_bits) == (4242, 100, True, 0)
        assert a.memory_limit_bytes == pool.admission.share(pool.models[0]) < limit
        assert (b.id, b.state, b.requests, b.queued) == ("b", "unloaded", 1, 1)
        await busy.aclose()
        await waiting
