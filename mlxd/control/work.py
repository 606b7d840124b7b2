"""Something the daemon does whoever watches: it goes on when the one who asked for it leaves."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

import msgspec

from mlxd.errors import MlxdError

Reply = TypeVar("Reply")


class Work(Generic[Reply]):
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
        self.task.add_done_callback(_retrieve)

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


def _retrieve(task: asyncio.Task[Any]) -> None:
    """An error that concerns only who asked is no error of the event loop's."""
    if not task.cancelled() and isinstance(task.exception(), MlxdError):
        return
