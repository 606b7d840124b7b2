"""The facts about one request, filled in by the layers that it passes."""

import contextlib
import time
from dataclasses import dataclass, field

from starlette.types import Scope

from mlxd.activity import ServedRequest
from mlxd.errors import MlxdError
from mlxd.http.caller_limits import Place
from mlxd.http.callers import ANYONE, Caller
from mlxd.messages import Usage
from mlxd.metrics.request_meter import RequestMeter

_OK = 200
_ERRORS = 400
_KEY = "mlxd.record"


@dataclass(slots=True)
class Record:
    """One request: over HTTP, one turn over a WebSocket, or a response in the background.

    `at` is its arrival in Unix seconds, `arrived` and `ended` are times of `time.monotonic`.
    `dialect` is None if it asks no model. `size` is how many bytes its body has. `headers` go into
    the reply.
    """

    request_id: str
    dialect: str | None = None
    size: int = 0
    status: int | None = None
    error: str | None = None
    model: str | None = None
    adapter: str | None = None
    stream: bool = False
    usage: Usage | None = None
    meter: RequestMeter | None = None
    aborted: bool = False
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    caller: Caller = ANYONE
    place: Place = field(default_factory=Place)
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """What it holds until its reply has ended; what goes on longer takes it over."""
    not_enforced: list[str] = field(default_factory=list)
    """Keywords of the request's schemas."""
    at: float = field(default_factory=time.time)
    arrived: float = field(default_factory=time.monotonic)
    ended: float | None = None

    def successor(self, dialect: str | None) -> "Record":
        """Return the record of work that goes on for the same caller after this request's reply."""
        return Record(self.request_id, dialect, status=_OK, caller=self.caller, place=self.place)

    def fail(self, error: MlxdError) -> None:
        """Note what failed, without the text of the error."""
        self.error = error.code or type(error).__name__

    @property
    def seconds(self) -> float:
        """Seconds from its arrival to its end, or until now."""
        return (self.ended or time.monotonic()) - self.arrived

    @property
    def running(self) -> bool:
        """Whether an engine has taken it."""
        return self.meter is not None and self.meter.running

    @property
    def tokens_per_second(self) -> float | None:
        """How fast the answer is or was generated, None if that is not known."""
        if self.meter is None or not (seconds := self.meter.decode):
            return None
        return round((self.usage or self.meter).completion_tokens / seconds, 1)

    def served(self) -> ServedRequest:
        """Return what `mlxctl top` and the page show of a request that asks a model."""
        meter = self.meter
        counts = self.usage or (meter if meter is not None and meter.running else None)
        return ServedRequest(
            id=self.request_id,
            at=self.at,
            dialect=self.dialect or "",
            caller=self.caller.name,
            model=self.model,
            adapter=self.adapter,
            stream=self.stream,
            state=self._state(),
            status=self.status,
            error=self.error,
            prompt_tokens=counts.prompt_tokens if counts else None,
            cached_tokens=counts.cached_tokens if counts else None,
            completion_tokens=counts.completion_tokens if counts else None,
            queue_s=_rounded(meter.queue) if meter else None,
            first_token_s=_rounded(meter.first_token) if meter else None,
            total_s=_rounded(self.seconds),
            tokens_per_second=self.tokens_per_second,
        )

    def _state(self) -> str:
        if self.ended is not None:
            if self.error is not None or (self.status or 0) >= _ERRORS:
                return "failed"
            return "aborted" if self.aborted else "done"
        if self.meter is None or not self.meter.running:
            return "queued"
        return "writing" if self.meter.writes else "reading"


def record_of(scope: Scope) -> Record:
    """Return the record of the request that `scope` belongs to."""
    record: Record = scope[_KEY]
    return record


def attach(scope: Scope, record: Record) -> None:
    """Let `record` be that of the request that `scope` belongs to."""
    scope[_KEY] = record


def caller_of(scope: Scope) -> Caller:
    """Return who sent the request that `scope` belongs to."""
    return record_of(scope).caller


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
