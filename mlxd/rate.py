"""How much comes in a second: bytes of a download, tokens of an engine."""

import time
from collections import deque
from collections.abc import Callable

_SLICE_SECONDS = 0.25


class Rate:
    """The mean of the last `window` seconds, counted in slices of a quarter of a second."""

    def __init__(self, window: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._window = window
        self._clock = clock
        self._slices: deque[tuple[float, int]] = deque()

    def add(self, count: int) -> None:
        """Count `count` that have come now."""
        now = self._clock()
        if self._slices and now - self._slices[-1][0] < _SLICE_SECONDS:
            began, before = self._slices.pop()
            self._slices.append((began, before + count))
        else:
            self._drop_old(now)
            self._slices.append((now, count))

    def per_second(self) -> float:
        """Return the mean, 0 if nothing has come in the window."""
        now = self._clock()
        self._drop_old(now)
        if not self._slices:
            return 0.0
        seconds = max(now - self._slices[0][0], _SLICE_SECONDS)
        return sum(count for _, count in self._slices) / seconds

    def _drop_old(self, now: float) -> None:
        while self._slices and now - self._slices[0][0] > self._window:
            self._slices.popleft()
