"""The requests that ask a model: those that run, and the last that have ended."""

from collections import deque
from typing import Protocol

from mlxd.activity import ServedRequest
from mlxd.metrics.families import CountFamily
from mlxd.metrics.timeline import Timeline

_MOST_ENDED = 200
_CLIENT_GONE = 499  # as nginx logs it


class LiveRequest(Protocol):
    """A request between its arrival and its end."""

    @property
    def running(self) -> bool:
        """Whether an engine works on it."""

    def served(self) -> ServedRequest:
        """Return what is known of it now."""


class Requests:
    """Every request that asks a model; `total` have ended, `failed` of them with an error."""

    def __init__(self, timeline: Timeline) -> None:
        self.total = self.failed = 0
        self._timeline = timeline
        self._live: dict[int, LiveRequest] = {}
        self._ended: deque[ServedRequest] = deque(maxlen=_MOST_ENDED)
        self._counts = CountFamily(
            "mlxd_requests",
            "Requests that asked a model and have ended: done, failed or aborted.",
            ("dialect", "status", "outcome"),
        )
        self._others = CountFamily(
            "mlxd_other_requests", "Requests that asked no model and have ended.", ("status",)
        )

    @property
    def running(self) -> int:
        """How many are with an engine."""
        return sum(request.running for request in self._live.values())

    @property
    def waiting(self) -> int:
        """How many are not with an engine yet."""
        return len(self._live) - self.running

    def begin(self, request: LiveRequest) -> None:
        """Take a request that has arrived."""
        self._live[id(request)] = request
        self.changed()

    def replace(self, request: LiveRequest, later: LiveRequest) -> None:
        """Let `later` stand for a request whose reply says only that its answer will come."""
        del self._live[id(request)]
        self.begin(later)

    def changed(self) -> None:
        """Note that an engine has taken a request, or is rid of one."""
        self._timeline.set("running", self.running)
        self._timeline.set("waiting", self.waiting)

    def end(self, request: LiveRequest) -> ServedRequest | None:
        """Count a request that has ended, and return what is known of it; None if it was not taken.

        Such a request asked no model.
        """
        served = request.served()
        status = str(served.status or _CLIENT_GONE)
        if self._live.pop(id(request), None) is None:
            self._others.add(status)
            return None
        self._ended.appendleft(served)
        self._counts.add(served.dialect, status, served.state)
        self._timeline.add("requests", 1)
        self.total += 1
        if served.state == "failed":
            self._timeline.add("failed", 1)
            self.failed += 1
        self.changed()
        return served

    def listed(self) -> list[ServedRequest]:
        """Return those that run, then those that have ended, the newest first."""
        live = [request.served() for request in self._live.values()]
        return [*reversed(live), *self._ended]
