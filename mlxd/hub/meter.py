"""The progress of a download, reported at every change of state and else a few times a second."""

import time
from collections.abc import Callable

import msgspec

from mlxd.control_api import PullStatus
from mlxd.hub.reference import Reference
from mlxd.rate import Rate

_REPORT_SECONDS = 0.25
_SPEED_SECONDS = 10.0


class Meter:
    """Counts bytes and calls `report` with the status; `fetched` are the bytes that came."""

    def __init__(self, reference: Reference, report: Callable[[PullStatus], None]) -> None:
        self.fetched = 0
        self._status = PullStatus(model=reference.repo, revision=reference.revision, state="queued")
        self._report = report
        self._reported_at = 0.0
        self._rate = Rate(_SPEED_SECONDS)

    def plan(self, done: int, total: int) -> None:
        """Set how many bytes are on disk already, and how many there will be."""
        self._status.bytes_done, self._status.bytes_total = done, total

    def enter(self, state: str, file: str | None = None, cause: str | None = None) -> None:
        """Begin a state of a PullStatus; `retrying` is because of `cause`."""
        status = self._status
        if (state, file, cause) != (status.state, status.file, status.cause):
            status.state, status.file, status.cause = state, file, cause
            self._send()

    def add(self, count: int) -> None:
        """Count bytes that have come."""
        self.fetched += count
        self._status.bytes_done += count
        self._rate.add(count)
        if time.monotonic() - self._reported_at >= _REPORT_SECONDS:
            self._send()

    def refresh(self) -> None:
        """Report again if nothing has come for a while, since the speed has changed."""
        late = time.monotonic() - self._reported_at >= _REPORT_SECONDS
        if late and self._status.state == "downloading":
            self._send()

    def discard(self, count: int) -> None:
        """Take back bytes that have to be fetched again."""
        self._status.bytes_done -= count

    def _send(self) -> None:
        self._reported_at = time.monotonic()
        speed = self._rate.per_second() or None
        self._report(msgspec.structs.replace(self._status, bytes_per_second=speed))
