"""Something the daemon does whoever watches: it goes on when the one who asked for it leaves."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

import msgspec

from mlxd.errors import MlxdError

Reply = TypeVar("Reply")

_log = logging.getLogger("mlxd.control")


class BackgroundTask(Generic[Reply]):
    """A task, and how far it is; `kept` holds it while it runs."""

    def __init__(
        self,
        doing: Coroutine[Any, Any, Reply],
        progress: Callable[[], msgspec.Struct],
        kept: set[asyncio.Task[Any]],
    ) -> None:
        self.progress = progress
        self.task: asyncio.Task[Reply] = asyncio.get_running_loop().create_task(doing)
        kept.add(self.task)
        self.task.add_done_callback(kept.discard)
        self.task.add_done_callback(_log_bug)

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until the task is done, for at most `seconds`; tell whether it is."""
        done, _ = await asyncio.wait([self.task], timeout=seconds)
        return bool(done)

    async def result(self) -> Reply:
        """Give what the task gives; being cancelled here does not cancel it.

        Raises:
            MlxdError: what the task raises.
        """
        return await asyncio.shield(self.task)


def _log_bug(task: asyncio.Task[Any]) -> None:
    """Log what is no error of ours to tell: perhaps nobody waits for it any more."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, MlxdError):
        _log.error("unexpected error in the background", exc_info=error)
