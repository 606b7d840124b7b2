"""Notices an engine that hangs: one that has work and is silent for too long.

A step cannot be interrupted and says nothing before its end, and a step that processes prompts may
take long. So an engine that has prompts to process gets more time, by their tokens.
"""

import asyncio
import contextlib
from typing import Protocol

from mlxd.errors import EngineDied

_LONGEST_LOAD_SILENCE = 120.0


class Watched(Protocol):
    """What can be seen of an engine."""

    @property
    def heard_at(self) -> float:
        """When it was last heard of, or was given work after it had none; the loop's time."""

    @property
    def loading(self) -> bool:
        """Whether it is loading its model."""

    @property
    def requests(self) -> int:
        """How many sequences are in flight."""

    @property
    def prefill_seconds(self) -> float:
        """How many seconds its step may take for the prompts it processes."""

    async def ping(self, seconds: float) -> None:
        """Wait until the loop has turned; raises TimeoutError or EngineDied."""

    def reject(self, reason: str) -> None:
        """End the process, for `reason`."""


class Watchdog:
    """Ends an engine that is silent for `timeout` seconds, 0 being for ever, while it has work."""

    def __init__(self, engine: Watched, timeout: float) -> None:
        self._engine = engine
        self._timeout = timeout
        self._watching: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Watch until the engine has no work any more; for when it gets some."""
        if self._timeout > 0 and (self._watching is None or self._watching.done()):
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    def sleep(self) -> None:
        """Watch no longer: the engine has ended."""
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while self._engine.requests or self._engine.loading:
            allowed = self._allowed()
            silent = loop.time() - self._engine.heard_at
            if silent >= allowed:
                self._engine.reject(
                    f"the engine has not answered for {silent:.0f} s, and was ended"
                )
                return
            if silent < allowed / 2:
                # No longer than that: what is allowed may become less meanwhile.
                await asyncio.sleep(min(allowed / 2 - silent, self._timeout / 2))
                continue
            # It may have nothing to say, as while a schema compiles; then it answers.
            with contextlib.suppress(TimeoutError, EngineDied):
                await self._engine.ping(min(allowed - silent, allowed / 4))

    def _allowed(self) -> float:
        if self._engine.loading:
            return max(self._timeout, _LONGEST_LOAD_SILENCE)
        return self._timeout + self._engine.prefill_seconds
