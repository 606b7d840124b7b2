"""When a daemon that somebody will start again has nothing left to do."""

import asyncio
from collections.abc import Callable

_LOOKS = 10  # within the time that is waited for
_SELDOM_SECONDS = 10.0
_OFTEN_SECONDS = 0.02


async def until_idle(seconds: float, asked: Callable[[], int | None]) -> None:
    """Return when nothing has been asked for in `seconds`.

    `asked` counts what was asked for so far, and is None while something is on its way.
    """
    clock = asyncio.get_running_loop().time
    pause = min(max(seconds / _LOOKS, _OFTEN_SECONDS), _SELDOM_SECONDS)
    since, before = clock(), asked()
    while before is None or clock() < since + seconds:
        await asyncio.sleep(pause)
        if (now := asked()) is None or now != before:
            since, before = clock(), now
