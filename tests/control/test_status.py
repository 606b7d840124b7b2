"""What is running, and where all files are."""

from pathlib import Path

from mlxd.control.status import StatusReporter
from mlxd.models.catalog import Catalog
from mlxd.pool.pool import Pool
from tests.fakes.model_folder import add_model


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
