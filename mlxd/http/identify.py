"""The outermost middleware: every reply says who answered what, every request leaves a log line.

The line names the request's id, method, path, status, duration, model and token counts. Query
strings, headers and bodies stay out of it.
"""

import logging
import time
import uuid
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlxd import __version__

_log = logging.getLogger("mlxd.http")

_MAX_ID_LENGTH = 128
_RECORD = "mlxd.record"
_VERSION_HEADERS = [
    (b"server", f"mlxd/{__version__}".encode()),
    (b"x-mlxd-version", __version__.encode()),
]


@dataclass(slots=True)
class Record:
    """What is known of a request; the layers below fill it in."""

    request_id: str
    status: int | None = None
    error: str | None = None
    model: str | None = None
    adapter: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    aborted: bool = False


def record_of(scope: Scope) -> Record:
    """Give the record of the request that `scope` belongs to."""
    record: Record = scope[_RECORD]
    return record


class Identify:
    """Gives each request its id and record, each reply its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = Record(_request_id(Headers(scope=scope).get("x-request-id", "")))
        scope[_RECORD] = record
        headers = [(b"x-request-id", record.request_id.encode()), *_VERSION_HEADERS]

        async def send_identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        began = time.perf_counter()
        try:
            await self._app(scope, receive, send_identified)
        finally:
            _log_request(scope, record, time.perf_counter() - began)


def _request_id(given: str) -> str:
    if given.isascii() and given.isprintable() and 0 < len(given) <= _MAX_ID_LENGTH:
        return given
    return f"req-{uuid.uuid4().hex}"


def _log_request(scope: Scope, record: Record, seconds: float) -> None:
    details = [
        f"{name}={value}"
        for name, value in (
            ("model", record.model),
            ("adapter", record.adapter),
            ("prompt_tokens", record.prompt_tokens),
            ("completion_tokens", record.completion_tokens),
            ("error", record.error),
            ("aborted", "yes" if record.aborted else None),
        )
        if value is not None
    ]
    path = scope["raw_path"].decode("ascii", "backslashreplace")
    _log.info(
        "%s %s %s %s %.1fms%s",
        record.request_id,
        scope["method"],
        path,
        record.status or "-",
        seconds * 1000,
        "".join(f" {detail}" for detail in details),
    )
