"""The last hour in fixed memory, in steps of five seconds."""

import time
from array import array
from collections.abc import Callable
from typing import Any, Literal

from mlxd.activity import History

STEP_SECONDS = 5.0
STEPS = 720
_EMPTY = bytes(8 * STEPS)

Sum = Literal["generated_tokens", "prompt_tokens", "cached_tokens", "requests", "failed"]
Mean = Literal["first_token_s", "inter_token_s"]
Gauge = Literal["running", "waiting", "memory_bytes", "prompt_cache_bytes"]

_SUMS: tuple[Sum, ...] = (
    "generated_tokens",
    "prompt_tokens",
    "cached_tokens",
    "requests",
    "failed",
)
_MEANS: tuple[Mean, ...] = ("first_token_s", "inter_token_s")
_GAUGES: tuple[Gauge, ...] = ("running", "waiting", "memory_bytes", "prompt_cache_bytes")


class Timeline:
    """What happened in each step; `clock` gives Unix seconds.

    There is no timer: steps that have passed are filled in when something happens or is read, with
    no events, and with the gauges as they were. If the clock was set back, the steps so far stay
    the last ones before now.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._sums = {name: array("q", _EMPTY) for name in _SUMS}
        self._seconds = {name: array("d", _EMPTY) for name in _MEANS}
        self._counts = {name: array("q", _EMPTY) for name in _MEANS}
        self._gauges = {name: array("q", _EMPTY) for name in _GAUGES}
        self._levels = dict.fromkeys(_GAUGES, 0)
        self._place = 0
        self._step = self._current_step()

    def add(self, name: Sum, amount: int) -> None:
        """Count what has happened now."""
        self._advance()
        self._sums[name][self._place] += amount

    def observe(self, name: Mean, seconds: float, count: int = 1) -> None:
        """Add `count` values, which make `seconds` together, to a mean."""
        self._advance()
        self._seconds[name][self._place] += seconds
        self._counts[name][self._place] += count

    def set(self, name: Gauge, level: int) -> None:
        """Note what a gauge shows from now on."""
        self._advance()
        self._levels[name] = level
        column = self._gauges[name]
        column[self._place] = max(column[self._place], level)

    def read(self, steps: int = STEPS) -> History:
        """Return the last `steps` steps; the last of them has not ended yet."""
        self._advance()
        first = self._place + 1 - steps
        places = [place % STEPS for place in range(first, self._place + 1)]
        columns: dict[str, list[Any]] = {
            name: [column[place] for place in places]
            for name, column in (*self._sums.items(), *self._gauges.items())
        }
        for name, counts in self._counts.items():
            seconds = self._seconds[name]
            columns[name] = [seconds[at] / counts[at] if counts[at] else None for at in places]
        return History(step_s=STEP_SECONDS, end=(self._step + 1) * STEP_SECONDS, **columns)

    def _advance(self) -> None:
        """Fill in the steps that have passed since the last call."""
        step = self._current_step()
        if step == self._step:
            return
        for _ in range(min(step - self._step, STEPS)):
            self._place = (self._place + 1) % STEPS
            for column in (*self._sums.values(), *self._counts.values()):
                column[self._place] = 0
            for seconds in self._seconds.values():
                seconds[self._place] = 0.0
            for name, level in self._levels.items():
                self._gauges[name][self._place] = level
        self._step = step

    def _current_step(self) -> int:
        return int(self._clock() // STEP_SECONDS)
