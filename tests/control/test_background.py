"""Tasks that go on when the client that started them disconnects."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import pytest

from mlxd.control.background import BackgroundTask
from mlxd.control_api import Progress
from mlxd.errors import LoadFailed


def start(work: Coroutine[Any, Any, int], running: set[asyncio.Task[Any]]) -> BackgroundTask[int]:
    return BackgroundTask(work, lambda: Progress(status="loading", model="tiny"), running)


async def fail(error: Exception) -> int:
    raise error


async def test_it_goes_on_when_nobody_waits_for_it_any_more() -> None:
    go_on = asyncio.Event()
    running: set[asyncio.Task[Any]] = set()

    async def work() -> int:
        await go_on.wait()
        return 3

    task = start(work(), running)
    client = asyncio.create_task(task.result())
    await asyncio.sleep(0)
    client.cancel()
    assert not await task.wait(0)
    assert len(running) == 1
    go_on.set()
    assert await task.result() == 3
    assert not running


async def test_its_error_is_the_result(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(LoadFailed, match="no weights"):
        await start(fail(LoadFailed("no weights")), set()).result()
    assert not caplog.records


async def test_a_bug_is_logged_even_if_nobody_waits(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert await start(fail(ValueError("bug")), set()).wait()
        await asyncio.sleep(0)
    assert "unexpected error in the background" in caplog.text
