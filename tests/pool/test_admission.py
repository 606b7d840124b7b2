"""Which models are in memory when several are asked for; the engines are tests/fakes/engine.py."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from mlxd.config import Config, ModelsConfig
from mlxd.errors import InsufficientMemory
from mlxd.models.catalog import CatalogEntry
from mlxd.pool import admission
from mlxd.pool.engine_process import EngineProcess
from mlxd.pool.model import Launch, State
from mlxd.pool.pool import Pool
from tests.support.pool import LaunchFake, first_delta, make_entry, open_pool, read, text, until

A, B, C = make_entry("a"), make_entry("b"), make_entry("c")
FOREVER = 3600.0


class CountedLaunch:
    """Launches as another function does, and keeps the ids of what was launched."""

    def __init__(self, launch: Launch) -> None:
        self.ids: list[str] = []
        self._launch = launch

    async def __call__(self, entry: CatalogEntry, report: Callable[[float], None]) -> EngineProcess:
        self.ids.append(entry.id)
        return await self._launch(entry, report)


@pytest.fixture
def launch(launch_fake: LaunchFake) -> CountedLaunch:
    return CountedLaunch(launch_fake(""))


async def test_all_requests_that_wait_for_a_model_are_admitted_together(
    launch: CountedLaunch,
) -> None:
    async with open_pool(launch) as pool:
        requests = [pool.submit([A, B][i % 2], text(f"w{i}")) for i in range(10)]
        assert await asyncio.gather(*map(read, requests)) == [f"w{i}" for i in range(10)]
        assert launch.ids == ["a", "b"]


async def test_a_model_that_requests_wait_for_stays_the_same_while_its_files_change(
    launch: CountedLaunch,
) -> None:
    async with open_pool(launch) as pool:
        async with pool.lease(A):
            before = asyncio.create_task(read(pool.submit(B, text("before"))))
            await until(lambda: pool.admission.has_waiters(pool.model(B)))
            awaited = pool.model(B)
            changed = msgspec.structs.replace(B, created=B.created + 1)
            assert pool.model(changed) is awaited
        assert await before == "before"
        assert pool.model(changed) is awaited


async def test_a_client_that_sends_the_next_request_at_once_finds_its_model_still_loaded(
    launch: CountedLaunch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_LINGER", FOREVER)
    monkeypatch.setattr(admission, "_PATIENCE", 0.5)
    async with open_pool(launch) as pool:

        async def ask_again_and_again(entry: CatalogEntry) -> None:
            for _ in range(30):
                assert await read(pool.submit(entry, text("x"))) == "x"

        await asyncio.gather(ask_again_and_again(A), ask_again_and_again(B))
        assert len(launch.ids) < 30


async def test_a_busy_model_is_unloaded_for_a_request_that_has_waited_long_enough(
    launch: CountedLaunch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_LINGER", FOREVER)
    monkeypatch.setattr(admission, "_PATIENCE", 0.05)
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


def limited(limit: int = 10**12, max_loaded: int = 3, pinned: tuple[str, ...] = ()) -> Config:
    models = ModelsConfig(memory_limit=limit, max_loaded=max_loaded, pinned=list(pinned))
    return Config(models=models)


def large(name: str, size: int) -> CatalogEntry:
    return msgspec.structs.replace(make_entry(name), size_bytes=size)


def in_memory(pool: Pool) -> set[str]:
    return {model.entry.id for model in pool.models if model.resident}


async def test_models_that_fit_stay_side_by_side(launch: CountedLaunch) -> None:
    async with open_pool(launch, limited()) as pool:
        for entry in (A, B, A, B):
            await read(pool.submit(entry, text("x")))
        assert (launch.ids, in_memory(pool)) == (["a", "b"], {"a", "b"})


async def test_the_least_recently_used_model_is_unloaded_first(launch: CountedLaunch) -> None:
    async with open_pool(launch, limited(max_loaded=2)) as pool:
        for entry in (A, B, A, C):
            await read(pool.submit(entry, text("x")))
        assert in_memory(pool) == {"a", "c"}


async def test_the_limit_holds_for_all_models_together(launch: CountedLaunch) -> None:
    big = large("big", 3 * 10**9)
    async with open_pool(launch, limited(4 * 10**9)) as pool:
        for entry in (big, A, B):
            await read(pool.submit(entry, text("x")))
        assert in_memory(pool) == {"a", "b", "big"}
        await read(pool.submit(large("bigger", 35 * 10**8), text("x")))
        assert in_memory(pool) == {"a", "b", "bigger"}


async def test_engines_share_what_their_models_leave_of_the_limit(launch: CountedLaunch) -> None:
    big, small = large("big", 3 * 10**9), large("small", 10**9)
    async with open_pool(launch, limited(8 * 10**9)) as pool:
        await read(pool.submit(big, text("x")))
        alone = pool.admission.share(pool.model(big))
        assert 8 * 10**9 - 10**8 < alone < 8 * 10**9
        await read(pool.submit(small, text("x")))
        shares = [pool.admission.share(pool.model(each)) for each in (big, small)]
        assert 0 <= alone - sum(shares) < 2
        assert shares[0] - shares[1] == 2 * 10**9


async def test_a_busy_model_is_not_unloaded(launch_fake: LaunchFake) -> None:
    async with open_pool(launch_fake("endless"), limited(max_loaded=1)) as pool:
        busy = pool.submit(A, text("la"))
        await first_delta(busy)
        waiting = asyncio.create_task(first_delta(pool.submit(B, text("la"))))
        assert await asyncio.wait([waiting], timeout=0.3) == (set(), {waiting})
        assert in_memory(pool) == {"a"}
        await busy.aclose()
        await waiting


async def test_a_pinned_model_is_never_unloaded(launch: CountedLaunch) -> None:
    async with open_pool(launch, limited(max_loaded=1, pinned=("a",))) as pool:
        await read(pool.submit(A, text("x")))
        refusal = r"b takes 100 MB .* does not fit beside the pinned models, which take \d"
        with pytest.raises(InsufficientMemory, match=refusal):
            await read(pool.submit(B, text("x")))
        assert in_memory(pool) == {"a"}
        assert pool.model(A).expires_in is None


async def test_a_model_that_can_never_fit_is_refused_with_the_numbers(
    launch: CountedLaunch,
) -> None:
    huge = msgspec.structs.replace(large("huge", 7 * 10**9), cache_bytes=2 * 10**9)
    async with open_pool(launch, limited(8 * 10**9)) as pool:
        await read(pool.submit(A, text("x")))
        with pytest.raises(InsufficientMemory) as refused:
            await read(pool.submit(huge, text("x")))
        assert refused.value.message == (
            "huge needs 9.0 GB (weights 7.0 GB, cache 2.0 GB), and models.memory_limit is 8.0 GB"
        )
        assert (in_memory(pool), pool.requests) == ({"a"}, 0)


async def test_idle_models_are_unloaded_for_one_that_is_larger_than_expected(
    launch_fake: LaunchFake,
) -> None:
    async with open_pool(launch_fake("memory=600000000"), limited(10**9)) as pool:
        await read(pool.submit(A, text("x")))
        await read(pool.submit(B, text("x")))
        await until(lambda: in_memory(pool) == {"b"})
        await read(pool.submit(A, text("x")))  # this time it is known before
        assert in_memory(pool) == {"a"}


async def test_idle_models_are_unloaded_for_one_that_grows(launch_fake: LaunchFake) -> None:
    async with open_pool(launch_fake("grows=800000000"), limited(10**9)) as pool:
        await read(pool.submit(A, text("x")))
        await read(pool.submit(B, text("x")))
        await until(lambda: len(in_memory(pool)) == 1)


async def test_the_limit_is_what_the_device_recommends_unless_one_is_configured(
    launch_fake: LaunchFake,
) -> None:
    for limit, expected in ((0, 7 * 10**9), (10**12, 10**12)):
        async with open_pool(launch_fake("device=7000000000"), limited(limit)) as pool:
            await read(pool.submit(A, text("x")))
            assert pool.admission.limit == expected


async def test_unload_waits_for_the_leases_of_the_model(launch_fake: LaunchFake) -> None:
    async with open_pool(launch_fake("endless")) as pool:
        busy = pool.submit(A, text("la"))
        await first_delta(busy)
        unloading = asyncio.create_task(pool.admission.unload(pool.model(A)))
        late = asyncio.create_task(first_delta(pool.submit(A, text("la"))))
        assert (await asyncio.wait([unloading, late], timeout=0.1))[0] == set()
        await busy.aclose()
        await unloading
        await late  # which has brought it back


async def test_a_cancelled_request_holds_nothing(launch: CountedLaunch) -> None:
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
