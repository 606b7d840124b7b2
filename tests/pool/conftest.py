"""A launch function for the pools of these tests."""

from collections.abc import Callable

import pytest

from mlxd.messages import Load
from mlxd.models.catalog import CatalogEntry
from mlxd.pool.engine_process import EngineProcess
from mlxd.pool.model import Launch
from tests.support.pool import LaunchFake, fake_command, start_engine


@pytest.fixture
def launch_fake() -> LaunchFake:
    """Return a launch function whose engines follow a script of tests/fakes/engine.py."""

    def with_script(script: str) -> Launch:
        async def launch(entry: CatalogEntry, report: Callable[[float], None]) -> EngineProcess:
            load = Load(str(entry.path))
            return await start_engine(entry.id, load, report, fake_command(script))

        return launch

    return with_script
