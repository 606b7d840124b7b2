"""The one place where an error becomes a reply.

Before the reply began it is a status and OpenAI's error object; after that, since only streams
begin before they are complete, it is one last event that holds the same object.
"""

import logging
import traceback

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mlxd.errors import (
    MethodNotAllowed,
    MlxdError,
    RequestError,
    RouteNotFound,
    Unauthorized,
    Unavailable,
)
from mlxd.http.access_log import Record, record_of
from mlxd.http.connection import ClientGone

_log = logging.getLogger(__name__)


class ErrorObject(msgspec.Struct, frozen=True):
    """What went wrong; `param` is the path of the field at fault."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(msgspec.Struct, frozen=True):
    """The reply to a request that cannot be answered."""

    error: ErrorObject


class ErrorReplies:
    """Middleware that answers with what is raised below it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = record_of(scope)
        try:
            await self._app(scope, receive, send)
            return
        except ClientGone:
            record.aborted = True
            return
        except MlxdError as raised:
            # Its frames, which would refer to each other by it, hold the request's body.
            error = raised.with_traceback(None)
        except Exception as raised:  # noqa: BLE001  a bug of ours still owes the client a reply
            _log_unexpected(raised, record)
            raised.__traceback__ = None
            error = MlxdError(f"internal error (request {record.request_id})")
        record.error = error.code or type(error).__name__
        if record.status is None:
            await error_response(error)(scope, receive, send)
        else:
            event = b"data: %b\n\n" % _encode(error)
            await send({"type": "http.response.body", "body": event, "more_body": False})


def error_response(error: MlxdError, status: int | None = None) -> Response:
    """Give the reply that says `error`, with its own status unless another is given."""
    headers: dict[str, str] = {}
    if isinstance(error, Unavailable):
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return Response(_encode(error), status or error.status, headers, "application/json")


async def http_exception(request: Request, raised: Exception) -> Response:
    """Answer what Starlette's router raises; an exception handler of the application."""
    if not isinstance(raised, HTTPException):
        raise raised
    error: RequestError
    match raised.status_code:
        case 404:
            error = RouteNotFound(f"no such path: {request.url.path}")
        case 405:
            error = MethodNotAllowed(f"{request.method} is not a method of {request.url.path}")
        case _:
            error = RequestError(raised.detail)
    record_of(request.scope).error = error.code
    response = error_response(error, raised.status_code)
    response.headers.update(raised.headers or {})
    return response


def _encode(error: MlxdError) -> bytes:
    detail = ErrorObject(error.message, error.type, error.param, error.code)
    return msgspec.json.encode(ErrorReply(detail))


def _log_unexpected(error: Exception, record: Record) -> None:
    # The exception's own text is left out: it may quote the prompt.
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error(
        "unexpected %s\n%s",
        type(error).__name__,
        frames,
        extra={"details": {"request": record.request_id}},
    )
