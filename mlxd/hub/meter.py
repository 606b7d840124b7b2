"""How far a download is, told whenever it matters and else a few times a second."""

import time
from collections import deque
from collections.abc import Callable

from mlxd.hub.protocol import DownloadProgress, Phase

_TELL_SECONDS = 0.25
_SPEED_SECONDS = 10.0


class Meter:
    """Counts bytes and calls `tell` with what has become of them; `clock` gives seconds."""

    def __init__(
        self, tell: Callable[[DownloadProgress], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.fetched = 0
        self._tell = tell
        self._clock = clock
        self._phase: Phase = "asking"
        self._done = 0
        self._total: int | None = None
        self._file: str | None = None
        self._note: str | None = None
        self._told_at = 0.0
        self._history: deque[tuple[float, int]] = deque()

    def plan(self, done: int, total: int) -> None:
        """So many bytes are here already, of so many."""
        self._done, self._total = done, total

    def enter(self, phase: Phase, file: str | None = None, note: str | None = None) -> None:
        """Say what happens now."""
        changed = (phase, file, note) != (self._phase, self._file, self._note)
        self._phase, self._file, self._note = phase, file, note
        if changed or not self._told_at:
            self._say()

    def add(self, count: int) -> None:
        """So many bytes have come."""
        self.fetched += count
        self._done += count
        now = self._clock()
        self._history.append((now, self.fetched))
        if now - self._told_at >= _TELL_SECONDS:
            self._say()

    def lose(self, count: int) -> None:
        """So many bytes are of no use after all."""
        self._done -= count

    def _say(self) -> None:
        self._told_at = self._clock()
        self._tell(
            DownloadProgress(
                phase=self._phase,
                bytes_done=self._done,
                bytes_total=self._total,
                bytes_per_second=self._speed(),
                file=self._file,
                note=self._note,
            )
        )

    def _speed(self) -> float | None:
        """Give the bytes a second of the last seconds; None when none have come in them."""
        now = self._clock()
        while self._history and now - self._history[0][0] > _SPEED_SECONDS:
            self._history.popleft()
        if not self._history or now <= self._history[0][0]:
            return None
        since, before = self._history[0]
        return (self.fetched - before) / (now - since)
