"""The progress of a download, reported at every change of phase and else a few times a second."""

import time
from collections.abc import Callable

from mlxd.hub.protocol import DownloadProgress, Phase
from mlxd.rate import Rate

_REPORT_SECONDS = 0.25
_SPEED_SECONDS = 10.0


class Meter:
    """Counts bytes and calls `report` with the progress; `fetched` are the bytes that came."""

    def __init__(self, report: Callable[[DownloadProgress], None]) -> None:
        self.fetched = 0
        self._report = report
        self._phase: Phase = "asking"
        self._done = 0
        self._total: int | None = None
        self._file: str | None = None
        self._note: str | None = None
        self._reported_at = 0.0
        self._rate = Rate(_SPEED_SECONDS)

    def plan(self, done: int, total: int) -> None:
        """Set how many bytes are on disk already, and how many there will be."""
        self._done, self._total = done, total

    def enter(self, phase: Phase, file: str | None = None, note: str | None = None) -> None:
        """Begin a phase."""
        changed = (phase, file, note) != (self._phase, self._file, self._note)
        self._phase, self._file, self._note = phase, file, note
        if changed or not self._reported_at:
            self._send()

    def add(self, count: int) -> None:
        """Count bytes that have come."""
        self.fetched += count
        self._done += count
        self._rate.add(count)
        if time.monotonic() - self._reported_at >= _REPORT_SECONDS:
            self._send()

    def discard(self, count: int) -> None:
        """Take back bytes that have to be fetched again."""
        self._done -= count

    def _send(self) -> None:
        self._reported_at = time.monotonic()
        self._report(
            DownloadProgress(
                phase=self._phase,
                bytes_done=self._done,
                bytes_total=self._total,
                bytes_per_second=self._rate.per_second() or None,
                file=self._file,
                note=self._note,
            )
        )
