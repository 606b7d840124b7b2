"""The outermost middleware: identifies every reply, and counts and logs every request.

The log line has the request's id, method, path, status, model, token counts and times, but no query
strings, headers or bodies.
"""

import logging
import time
import uuid

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlxd import __version__
from mlxd.http.record import Record, attach
from mlxd.http.rights import dialect_of
from mlxd.metrics.metrics import Metrics

_log = logging.getLogger("mlxd.http")

_MAX_ID_LENGTH = 128
_BAD = 400
_SERVER_ERROR = 500
_LOOKS = (
    "/control/v1/status",
    "/control/v1/activity",
    "/control/v1/pulls",
    "/metrics",
    "/ui/",
    "/page/",
)
_SWITCHING = 101
_STARTS = ("http.response.start", "websocket.http.response.start", "websocket.accept")
_VERSION_HEADERS = [
    (b"server", f"mlxd/{__version__}".encode()),
    (b"x-mlxd-version", __version__.encode()),
]


class AccessLog:
    """Middleware that adds an id and a record to requests, and headers to replies."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request_id = _request_id(Headers(scope=scope).get("x-request-id", ""))
        record = Record(request_id, dialect_of(scope["method"], scope["path"]))
        attach(scope, record)
        id_ = record.request_id.encode()
        # The second name is the one that Anthropic's SDKs read.
        headers = [(b"x-request-id", id_), (b"request-id", id_), *_VERSION_HEADERS]

        async def send_identified(message: Message) -> None:
            if message["type"] in _STARTS:
                record.status = message.get("status", _SWITCHING)
                message["headers"] = [*message.get("headers", ()), *headers, *record.headers]
            await send(message)

        begin(self._metrics, record)
        try:
            await self._app(scope, receive, send_identified)
        finally:
            end(self._metrics, scope, record)


def _request_id(given: str) -> str:
    if given.isascii() and given.isprintable() and 0 < len(given) <= _MAX_ID_LENGTH:
        return given
    return f"req-{uuid.uuid4().hex}"


def begin(metrics: Metrics, record: Record) -> None:
    """Begin to count a request: one of HTTP, or one turn over a WebSocket."""
    if record.dialect is not None:
        metrics.requests.begin(record)


def end(metrics: Metrics, scope: Scope, record: Record) -> None:
    """Count and log a request that has ended."""
    record.ended = time.monotonic()
    metrics.ended(record)
    method, status, total_ms = scope["method"], record.status, round(record.seconds * 1000, 1)
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
    if path.startswith(_LOOKS) and method == "GET" and (status or _BAD) < _BAD:
        level = logging.DEBUG  # an open page, `mlxctl top` and Prometheus ask again and again
    line = (method, path, status or "-", total_ms, words)
    _log.log(level, "%s %s %s %.1fms%s", *line, extra={"details": details})


def _answer(record: Record) -> dict[str, object]:
    """Return the known facts about an answer, times in milliseconds."""
    usage, meter = record.usage, record.meter
    details: dict[str, object | None] = {
        "model": record.model,
        "adapter": record.adapter,
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "cached_tokens": usage.cached_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
    }
    if meter is not None:
        details["queue_ms"] = _milliseconds(meter.queue)
        details["prefill_ms"] = _milliseconds(meter.prefill)
        details["decode_ms"] = _milliseconds(meter.decode)
        details["tokens_per_second"] = record.tokens_per_second
    details["not_enforced"] = ",".join(sorted({*record.not_enforced} - {""})) or None
    details["error"] = record.error
    details["aborted"] = "yes" if record.aborted else None
    return {name: value for name, value in details.items() if value is not None}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
