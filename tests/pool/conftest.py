"""Engines without a model, for the tests of the daemon's side."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mlxd.messages import Load
from mlxd.models.catalog import CatalogEntry
from mlxd.pool.engine_process import EngineProcess
from mlxd.pool.model import Launch

FAKE_ENGINE = Path(__file__).parent.parent / "fakes" / "engine.py"


def fake_command(script: str) -> tuple[str, ...]:
    return (sys.executable, str(FAKE_ENGINE), script)


def make_entry(name: str) -> CatalogEntry:
    return CatalogEntry(
        id=name,
        path=Path("/models") / name,
        created=0,
        size_bytes=1,
        architecture="llama",
        quantization=None,
        context_length=128,
    )


async def start_engine(
    name: str, load: Load, report: Callable[[float], None], command: Sequence[str]
) -> EngineProcess:
    """Spawn an engine and load a model in it."""
    engine = await EngineProcess.spawn(command)
    await engine.load(name, load, report)
    return engine


@pytest.fixture
def launch_fake() -> Callable[[str], Launch]:
    """Give a launch function whose engines follow a script of tests/fakes/engine.py."""

    def with_script(script: str) -> Launch:
        async def launch(entry: CatalogEntry, report: Callable[[float], None]) -> EngineProcess:
            load = Load(str(entry.path))
            return await start_engine(entry.id, load, report, fake_command(script))

        return launch

    return with_script
