"""Detects engines that hang: they have work and are silent for too long.

A step cannot be interrupted and sends nothing before it ends, and a step that processes prompts may
take long. So an engine that has prompts to process gets more time, by their tokens. Time in which
the machine sleeps or the daemon is stopped does not count, even if the event loop's clock goes on.
"""

import asyncio
import contextlib
from typing import Protocol

from mlxd.errors import EngineDied
from mlxd.messages import Event, PrefillProgress, Queued, Started

_LONGEST_LOAD_SILENCE = 120.0
_PING_SECONDS = 5.0
_BUSY_SECONDS = 60.0
_SLOWEST = 10.0  # prompt tokens a second, on the slowest machine that is of any use
_ASLEEP_SECONDS = 1.0  # a task that wakes up so much too late was asleep with the machine
_MARGIN = 4.0  # for the rest of a prompt, which is read more slowly


class _Engine(Protocol):
    """The part of an `EngineLink` that this module uses."""

    name: str
    heard_at: float

    @property
    def loading(self) -> bool: ...
    @property
    def requests(self) -> int: ...
    async def ping(self, seconds: float) -> None: ...
    def kill(self, cause: str) -> None: ...


async def check(engine: _Engine) -> None:
    """Raise EngineDied if the engine does not answer for 5 seconds.

    If it has work it may be silent for 60 seconds, because a step may take long. An engine that has
    ended passes: the next request gets a new one.
    """
    silence = asyncio.get_running_loop().time() - engine.heard_at
    if engine.requests and silence < _BUSY_SECONDS:
        return
    try:
        with contextlib.suppress(EngineDied):
            await engine.ping(_PING_SECONDS)
    except TimeoutError:
        raise EngineDied(f"the engine of {engine.name} does not answer") from None


class PendingPrompts:
    """The prompts an engine has still to process, and how long that may take.

    One step processes at most `step_tokens` of their tokens.
    """

    def __init__(self, step_tokens: int) -> None:
        self._step_tokens = step_tokens
        self._left: dict[int, int] = {}
        self._per_second = _SLOWEST

    def note(self, event: Event, seconds: float) -> None:
        """Take in an event that came `seconds` after the one before it."""
        match event:
            case Started():
                self._left[event.id] = event.prompt_tokens - event.cached_tokens
            case Queued():
                pass
            case PrefillProgress():
                left = event.total - event.done
                done = self._left.get(event.id, left) - left
                if done > 0 and seconds > 0:
                    self._per_second = max(_SLOWEST, done / seconds / _MARGIN)
                self._left[event.id] = left
            case _:
                self._left.pop(event.id, None)

    def step_seconds(self) -> float:
        """Return how many seconds the next step may take to process prompts."""
        return min(sum(self._left.values()), self._step_tokens) / self._per_second


class Watchdog:
    """Kills an engine that has work and is silent for `timeout` seconds; 0 means never.

    `prompts` tells how much longer it may be silent.
    """

    def __init__(self, engine: _Engine, timeout: float, prompts: PendingPrompts) -> None:
        self._engine = engine
        self._timeout = timeout
        self.prompts = prompts
        self._watching: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Watch an engine that has got work, until it has none."""
        if self._timeout > 0 and (self._watching is None or self._watching.done()):
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    def sleep(self) -> None:
        """Stop watching: the engine has ended."""
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while self._engine.requests or self._engine.loading:
            allowed = self._allowed()
            began = loop.time()
            silent = began - self._engine.heard_at
            if silent >= allowed:
                self._engine.kill(f"the engine did not answer for {silent:.0f} s and was killed")
                return
            if silent < allowed / 2:
                # No longer than that, because `allowed` may shrink meanwhile.
                pause = min(allowed / 2 - silent, self._timeout / 2)
                await asyncio.sleep(pause)
            else:
                # It may have nothing to send, as while a schema compiles, but answers a ping.
                pause = min(allowed - silent, allowed / 4)
                with contextlib.suppress(TimeoutError, EngineDied):
                    await self._engine.ping(pause)
            if loop.time() - began > pause + _ASLEEP_SECONDS:
                self._engine.heard_at = loop.time()

    def _allowed(self) -> float:
        if self._engine.loading:
            return max(self._timeout, _LONGEST_LOAD_SILENCE)
        return self._timeout + self.prompts.step_seconds()
