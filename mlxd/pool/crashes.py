"""How engines end, and when a model's engine has crashed too often."""

import time
from dataclasses import dataclass

from mlxd.errors import EngineDied

_PERIOD_SECONDS = 300.0


@dataclass(frozen=True)
class EngineExit:
    """How an engine ended.

    `at` is in Unix seconds; `output` holds the last lines that the process printed. `explained` is
    True if the engine or the daemon gave the `cause`, and False if it is only the exit status.
    """

    at: float
    cause: str
    output: list[str]
    explained: bool


class EngineCrashed(EngineDied):
    """An engine died while it loaded a model."""

    def __init__(self, name: str, end: EngineExit) -> None:
        super().__init__(f"{name} cannot be loaded: {end.cause}")
        self.end = end


class Crashes:
    """The crashes of one model in the last five minutes; `limit` is how many are too many.

    A `limit` of 0 means that no number is too many.
    """

    def __init__(self, limit: int) -> None:
        self.last: EngineExit | None = None
        self._limit = limit
        self._times: list[float] = []

    def add(self, crash: EngineExit) -> None:
        """Count a crash."""
        self.last = crash
        now = time.monotonic()
        self._times = [each for each in self._times if now - each < _PERIOD_SECONDS] + [now]

    def forgive(self) -> None:
        """Start counting again from zero."""
        self._times.clear()

    @property
    def count(self) -> int:
        """How many crashes were counted."""
        return len(self._times)

    @property
    def too_many(self) -> bool:
        """Whether the model is not loaded again until its crashes are forgiven."""
        return 0 < self._limit <= len(self._times)
