"""The outermost middleware: identifies every reply, and logs every request.

The log line has the request's id, method, path, status, model, token counts and times, but no query
strings, headers or bodies.
"""

import contextlib
import logging
import time
import uuid
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlxd import __version__
from mlxd.http.callers import ANYONE, Caller
from mlxd.http.rates import Place
from mlxd.messages import Usage
from mlxd.pool.request import Timing

_log = logging.getLogger("mlxd.http")

_MAX_ID_LENGTH = 128
_SERVER_ERROR = 500
_SWITCHING = 101
_STARTS = ("http.response.start", "websocket.http.response.start", "websocket.accept")
_OK = 200
_RECORD = "mlxd.record"
_VERSION_HEADERS = [
    (b"server", f"mlxd/{__version__}".encode()),
    (b"x-mlxd-version", __version__.encode()),
]


@dataclass(slots=True)
class Record:
    """The facts about one request; the layers below fill them in. `headers` go into the reply."""

    request_id: str
    status: int | None = None
    error: str | None = None
    model: str | None = None
    adapter: str | None = None
    usage: Usage | None = None
    timing: Timing | None = None
    aborted: bool = False
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    caller: Caller = ANYONE
    place: Place = field(default_factory=Place)
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """What it holds until its reply has ended; what goes on longer takes it over."""
    not_enforced: list[str] = field(default_factory=list)
    """Keywords of the request's schemas."""

    def successor(self) -> "Record":
        """Return the record of what goes on for the same caller after its reply has begun."""
        return Record(self.request_id, status=_OK, caller=self.caller, place=self.place)


def record_of(scope: Scope) -> Record:
    """Return the record of the request that `scope` belongs to."""
    record: Record = scope[_RECORD]
    return record


class AccessLog:
    """Middleware that adds an id and a record to requests, and headers to replies."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        record = Record(_request_id(Headers(scope=scope).get("x-request-id", "")))
        scope[_RECORD] = record
        id_ = record.request_id.encode()
        # The second name is the one that Anthropic's SDKs read.
        headers = [(b"x-request-id", id_), (b"request-id", id_), *_VERSION_HEADERS]

        async def send_identified(message: Message) -> None:
            if message["type"] in _STARTS:
                record.status = message.get("status", _SWITCHING)
                message["headers"] = [*message.get("headers", ()), *headers, *record.headers]
            await send(message)

        began = time.perf_counter()
        try:
            await self._app(scope, receive, send_identified)
        finally:
            log_request(scope, record, time.perf_counter() - began)


def _request_id(given: str) -> str:
    if given.isascii() and given.isprintable() and 0 < len(given) <= _MAX_ID_LENGTH:
        return given
    return f"req-{uuid.uuid4().hex}"


def caller_of(scope: Scope) -> Caller:
    """Return who sent the request that `scope` belongs to."""
    return record_of(scope).caller


def log_request(scope: Scope, record: Record, seconds: float) -> None:
    """Log a request that took so long: one of HTTP, or one turn over a WebSocket."""
    method, status, total_ms = scope["method"], record.status, round(seconds * 1000, 1)
    path = scope["raw_path"].decode("ascii", "backslashreplace")
    answer = _answer(record)
    words = "".join(f" {name}={value}" for name, value in answer.items())
    details = {
        "request": record.request_id,
        "method": method,
        "path": path,
        "status": status,
        "total_ms": total_ms,
        **answer,
    }
    level = logging.WARNING if (status or 0) >= _SERVER_ERROR else logging.INFO
    line = (method, path, status or "-", total_ms, words)
    _log.log(level, "%s %s %s %.1fms%s", *line, extra={"details": details})


def _answer(record: Record) -> dict[str, object]:
    """Return the known facts about an answer, times in milliseconds."""
    usage, timing = record.usage, record.timing
    details: dict[str, object | None] = {
        "model": record.model,
        "adapter": record.adapter,
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "cached_tokens": usage.cached_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
    }
    if timing is not None:
        details["queue_ms"] = _milliseconds(timing.queue)
        details["prefill_ms"] = _milliseconds(timing.prefill)
        details["decode_ms"] = _milliseconds(timing.decode)
        if usage is not None and timing.decode:
            details["tokens_per_second"] = round(usage.completion_tokens / timing.decode, 1)
    details["not_enforced"] = ",".join(sorted({*record.not_enforced} - {""})) or None
    details["error"] = record.error
    details["aborted"] = "yes" if record.aborted else None
    return {name: value for name, value in details.items() if value is not None}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
