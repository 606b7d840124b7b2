"""Which model is in memory when two are asked for; the engines are tests/fakes/engine.py."""

import asyncio
from collections.abc import Callable

import pytest

from mlxd.models import room
from mlxd.models.catalog import Entry
from mlxd.models.engine_process import EngineProcess
from mlxd.models.model import Launch, State
from tests.models.conftest import make_entry
from tests.models.test_pool import open_pool, read, text, until

A, B = make_entry("a"), make_entry("b")
FOR_EVER = 3600.0


class CountedLaunch:
    """Launches as another function does, and keeps the ids of what was launched."""

    def __init__(self, launch: Launch) -> None:
        self.ids: list[str] = []
        self._launch = launch

    async def __call__(self, entry: Entry, report: Callable[[float], None]) -> EngineProcess:
        self.ids.append(entry.id)
        return await self._launch(entry, report)


@pytest.fixture
def launch(launch_fake: Callable[[str], Launch]) -> CountedLaunch:
    return CountedLaunch(launch_fake(""))


async def test_all_who_wait_for_a_model_get_it_with_its_turn(launch: CountedLaunch) -> None:
    async with open_pool(launch) as pool:
        requests = [pool.submit([A, B][i % 2], text(f"w{i}")) for i in range(10)]
        assert await asyncio.gather(*map(read, requests)) == [f"w{i}" for i in range(10)]
        assert launch.ids == ["a", "b"]


async def test_a_client_that_asks_again_at_once_finds_its_model_still_there(
    launch: CountedLaunch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_LINGER", FOR_EVER)
    monkeypatch.setattr(room, "_PATIENCE", 0.5)
    async with open_pool(launch) as pool:

        async def ask_again_and_again(entry: Entry) -> None:
            for _ in range(30):
                assert await read(pool.submit(entry, text("x"))) == "x"

        await asyncio.gather(ask_again_and_again(A), ask_again_and_again(B))
        assert len(launch.ids) < 30


async def test_a_busy_model_gives_way_to_who_has_waited_long_enough(
    launch: CountedLaunch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_LINGER", FOR_EVER)
    monkeypatch.setattr(room, "_PATIENCE", 0.05)
    async with open_pool(launch) as pool:

        async def keep_asking() -> None:
            while True:
                await read(pool.submit(A, text("one two three")))

        busy = [asyncio.create_task(keep_asking()) for _ in range(3)]
        await until(lambda: pool.model(A).state is State.READY)
        for _ in range(3):
            assert await read(pool.submit(B, text("at last"))) == "at last"
        for task in busy:
            task.cancel()
        await asyncio.wait(busy)
        assert (pool.requests, pool.model(A).leases, pool.model(B).leases) == (0, 0, 0)


async def test_who_leaves_the_line_holds_nothing(launch: CountedLaunch) -> None:
    async with open_pool(launch) as pool:
        await read(pool.submit(A, text("x")))
        for rounds in range(1, 8):
            waiting = asyncio.create_task(read(pool.submit(B, text("x"))))
            for _ in range(rounds):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert await read(pool.submit(A, text("x"))) == "x"
        assert (pool.requests, pool.model(A).leases, pool.model(B).leases) == (0, 0, 0)
