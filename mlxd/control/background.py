"""Tasks of the daemon that go on when the client that started them disconnects."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

import msgspec

from mlxd.errors import MlxdError

Result = TypeVar("Result")

_log = logging.getLogger("mlxd.control")


class BackgroundTask(Generic[Result]):
    """A running task and its progress; the set `running` keeps a reference to it until it ends."""

    def __init__(
        self,
        work: Coroutine[Any, Any, Result],
        progress: Callable[[], msgspec.Struct],
        running: set[asyncio.Task[Any]],
    ) -> None:
        self.progress = progress
        self.task: asyncio.Task[Result] = asyncio.get_running_loop().create_task(work)
        running.add(self.task)
        self.task.add_done_callback(running.discard)
        self.task.add_done_callback(_log_bug)

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait at most `seconds` for the task to end; return whether it has."""
        done, _ = await asyncio.wait([self.task], timeout=seconds)
        return bool(done)

    async def result(self) -> Result:
        """Return the task's result; cancelling this call does not cancel the task."""
        return await asyncio.shield(self.task)


def _log_bug(task: asyncio.Task[Any]) -> None:
    """Log unexpected errors, because nobody may be waiting for the result any more."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, MlxdError):
        _log.error("unexpected error in the background", exc_info=error)
