"""Pools and engines without a model, for the tests of the daemon's side."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from mlxd.config import Config, ModelsConfig
from mlxd.generate_request import GenerateRequest, Sampling, TextPrompt
from mlxd.messages import ChoiceEvent, Delta, Event, Load
from mlxd.models.catalog import CatalogEntry
from mlxd.pool.engine_link import EngineRequest
from mlxd.pool.engine_process import EngineProcess
from mlxd.pool.model import Launch
from mlxd.pool.pool import Pool
from mlxd.pool.request import ActiveRequest

FAKE_ENGINE = Path(__file__).parent.parent / "fakes" / "engine.py"
ONE_AT_A_TIME = Config(models=ModelsConfig(max_loaded=1))
DEADLINE = 30

LaunchFake = Callable[[str], Launch]


def fake_command(script: str) -> tuple[str, ...]:
    """Return the command of an engine that follows a script of tests/fakes/engine.py."""
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


@asynccontextmanager
async def running_engine(script: str = "") -> AsyncIterator[EngineProcess]:
    """Run an engine that follows a script of tests/fakes/engine.py and has loaded a model."""
    async with asyncio.timeout(DEADLINE):
        load = Load("/models/fake")
        engine = await start_engine("fake", load, lambda _: None, fake_command(script))
        try:
            yield engine
        finally:
            await engine.stop()


async def collect_choices(request: EngineRequest) -> list[ChoiceEvent]:
    """Return every event of a request, each with the number of its choice."""
    events: list[ChoiceEvent] = []
    while new := await request.next_events():
        events += new
    return events


async def collect(request: EngineRequest) -> list[Event]:
    """Return every event of a request."""
    return [event for _, event in await collect_choices(request)]


@asynccontextmanager
async def open_pool(launch: Launch, config: Config = ONE_AT_A_TIME) -> AsyncIterator[Pool]:
    pool = Pool(config, launch)
    try:
        async with asyncio.timeout(DEADLINE):
            yield pool
    finally:
        await pool.close()


def text(*prompts: str) -> list[GenerateRequest]:
    """Return a request for each prompt."""
    return [GenerateRequest(TextPrompt(words), 10, Sampling()) for words in prompts]


async def read(request: ActiveRequest) -> str:
    """Return the whole answer."""
    words: list[str] = []
    try:
        async for events in request:
            words += [event.text for _, event in events if isinstance(event, Delta)]
    finally:
        await request.aclose()
    return " ".join(words)


async def first_delta(request: ActiveRequest) -> None:
    """Return when the answer has begun."""
    async for events in request:
        if any(isinstance(event, Delta) for _, event in events):
            return


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)
