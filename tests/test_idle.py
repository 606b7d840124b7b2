"""When a daemon has nothing left to do."""

import asyncio

from mlxd.idle import until_idle


async def test_it_returns_when_nothing_was_asked_for() -> None:
    async with asyncio.timeout(10):
        await until_idle(0.05, lambda: 3)


async def test_what_is_on_its_way_and_what_was_asked_meanwhile_begin_the_wait_anew() -> None:
    counts = iter([0, None, None, 1, 2, *[2] * 1000])
    seen: list[int | None] = []

    def asked() -> int | None:
        seen.append(next(counts))
        return seen[-1]

    async with asyncio.timeout(10):
        await until_idle(0.1, asked)
    assert seen[:5] == [0, None, None, 1, 2]
    assert seen.count(2) > 2
