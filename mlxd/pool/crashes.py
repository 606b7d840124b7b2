"""How often a model crashed lately, and how long it is left alone for that."""

import time

from mlxd.pool.engine_process import EngineExit

_CRASH_SECONDS = 300.0
_FIRST_REST_SECONDS = 10.0
_LONGEST_REST_SECONDS = 600.0


class Crashes:
    """The crashes of one model in the last five minutes, and the `last` one of all.

    `limit` is how many are too many; 0 means that no number is.
    """

    def __init__(self, limit: int) -> None:
        self.last: EngineExit | None = None
        self.limit = limit
        self._times: list[float] = []
        self._rests = 0
        self._rests_until = 0.0

    def add(self, crash: EngineExit) -> None:
        """Count a crash."""
        self.last = crash
        now = time.monotonic()
        self._times = [each for each in self._times if now - each < _CRASH_SECONDS] + [now]

        if self.too_many:
            self._rests += 1
            self._rests_until = now + self.rest_seconds

    def take_back(self, crash: EngineExit) -> None:
        """Note a crash for which, as for the one before, the model is not at fault."""
        self.last = crash
        del self._times[-1:]

    def forgive(self) -> None:
        """Start counting again from zero."""
        self._times.clear()
        self._rests, self._rests_until = 0, 0.0

    @property
    def count(self) -> int:
        """How many crashes were counted."""
        return len(self._times)

    @property
    def too_many(self) -> bool:
        """Whether the model crashed so often that it is left alone for a while."""
        return 0 < self.limit <= len(self._times)

    @property
    def rests(self) -> bool:
        """Whether the model is not loaded now, unless its crashes are forgiven."""
        return self.too_many and time.monotonic() < self._rests_until

    @property
    def rest_seconds(self) -> float:
        """For how long the model is left alone: twice as long after each further crash."""
        doublings = min(max(0, self._rests - 1), 10)
        return min(_FIRST_REST_SECONDS * float(1 << doublings), _LONGEST_REST_SECONDS)
