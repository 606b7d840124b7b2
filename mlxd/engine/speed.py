"""How many tokens a second an engine generates."""

import time
from collections import deque

_WINDOW_SECONDS = 5.0
_SLICE_SECONDS = 0.25


class Speed:
    """The tokens of the last five seconds, counted in slices of a quarter of one."""

    def __init__(self) -> None:
        self._slices: deque[tuple[float, int]] = deque()

    def add(self, tokens: int) -> None:
        """Count `tokens` that have come now."""
        now = time.monotonic()
        if self._slices and now - self._slices[-1][0] < _SLICE_SECONDS:
            began, before = self._slices.pop()
            self._slices.append((began, before + tokens))
        else:
            self._drop_old(now)
            self._slices.append((now, tokens))

    def per_second(self) -> float:
        """Give the mean of the last seconds, 0 when nothing has come in them."""
        now = time.monotonic()
        self._drop_old(now)
        if not self._slices:
            return 0.0
        seconds = max(now - self._slices[0][0], _SLICE_SECONDS)
        return sum(tokens for _, tokens in self._slices) / seconds

    def _drop_old(self, now: float) -> None:
        while self._slices and now - self._slices[0][0] > _WINDOW_SECONDS:
            self._slices.popleft()
