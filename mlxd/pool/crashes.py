"""How often a model's engine has crashed, and when that is too often."""

import time
from dataclasses import dataclass

from mlxd.errors import EngineDied

_PERIOD_SECONDS = 300.0


@dataclass(frozen=True)
class Crash:
    """One end of an engine that nobody wanted.

    `at` is in Unix seconds; `output` holds the last lines that the process printed.
    """

    at: float
    cause: str
    output: list[str]


class EngineCrashed(EngineDied):
    """An engine has died in a load."""

    def __init__(self, name: str, crash: Crash) -> None:
        super().__init__(f"{name} cannot be loaded: {crash.cause}")
        self.crash = crash


class Crashes:
    """The crashes of one model in the last five minutes; `limit` of them are too many, 0 never."""

    def __init__(self, limit: int) -> None:
        self.last: Crash | None = None
        self._limit = limit
        self._times: list[float] = []

    def add(self, crash: Crash) -> None:
        """Count one more."""
        self.last = crash
        now = time.monotonic()
        self._times = [each for each in self._times if now - each < _PERIOD_SECONDS] + [now]

    def forgive(self) -> None:
        """Begin to count anew."""
        self._times.clear()

    @property
    def count(self) -> int:
        """How many were counted."""
        return len(self._times)

    @property
    def too_many(self) -> bool:
        """Whether the model is given up, until the crashes are forgiven."""
        return 0 < self._limit <= len(self._times)
