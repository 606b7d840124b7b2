"""The catalog of the models directory, and a pool in which no engine runs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mlxd.config import Config, load
from mlxd.control.aliases import AliasControl
from mlxd.control.catalog import CatalogControl
from mlxd.models.catalog import Catalog
from mlxd.pool.pool import Pool


@pytest.fixture
def catalog(models: Path) -> Catalog:
    return Catalog(load(environ={}).models)


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(Config())
    yield pool
    await pool.close()


@pytest.fixture
def control(catalog: Catalog, pool: Pool) -> CatalogControl:
    return CatalogControl(catalog, pool)


@pytest.fixture
def aliases(catalog: Catalog) -> AliasControl:
    return AliasControl(catalog)
