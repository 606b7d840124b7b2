"""The one place where an error becomes a reply, in the form of the API that was asked.

Before a reply has begun, an error is a status with the API's error object. Afterwards, which only
happens to streams, it is a last event with the same object.
"""

import logging
import traceback
from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mlxd.api.anthropic_types import AnthropicErrors
from mlxd.api.dialect import ErrorForm
from mlxd.api.ollama_reply import OllamaErrors
from mlxd.api.openai_errors import OpenAIErrors
from mlxd.errors import MethodNotAllowed, MlxdError, RequestError, RouteNotFound, Unauthorized
from mlxd.http.connection import ClientGone
from mlxd.http.record import Record, record_of
from mlxd.http.spelling import methods_of, nearest

_API = "/v1/"

_log = logging.getLogger(__name__)


_OPENAI = OpenAIErrors()
_ANTHROPIC = AnthropicErrors()
_FORMS: tuple[tuple[str, ErrorForm], ...] = (
    ("/v1/messages", _ANTHROPIC),
    ("/messages", _ANTHROPIC),
    ("/api/v0/", _OPENAI),  # LM Studio's
    ("/api/v1/", _OPENAI),  # a spelling of /v1/
    ("/api/", OllamaErrors()),
)
"""The form of each API that has one of its own, by the beginning of its paths."""


class ErrorReplies:
    """Middleware that answers with the error that is raised below it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        record = record_of(scope)
        try:
            await self._app(scope, receive, send)
            return
        except ClientGone:
            record.aborted = True
            return
        except MlxdError as raised:
            # The frames of the traceback refer to the request's body and to the error itself.
            error = raised.with_traceback(None)
        except Exception as raised:  # noqa: BLE001  the client of a request that hits a bug gets a reply, too
            _log_unexpected(raised, record)
            raised.__traceback__ = None
            error = MlxdError(f"internal error (request {record.request_id})")
        record.fail(error)
        if record.status is None:
            await error_response(error, scope)(scope, receive, send)
        elif scope["type"] == "http":
            event = _form(scope).event(error)
            await send({"type": "http.response.body", "body": event, "more_body": False})


def error_response(
    error: MlxdError, scope: Scope | None = None, status: int | None = None
) -> Response:
    """Return the reply for `error`, with its own status or the given one.

    Its form is that of the API that was asked; without a `scope` the request could not be read.
    """
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    form = _form(scope) if scope else _OPENAI
    return Response(form.whole(error), status or error.status, headers, "application/json")


async def http_exception(request: Request, raised: Exception) -> Response:
    """Return the reply for an error of Starlette's router; an exception handler of the app."""
    if not isinstance(raised, HTTPException):
        raise raised
    path, routes = request.scope["path"], request.app.routes
    allowed = methods_of(path, routes)
    headers = {"allow": ", ".join(allowed)} if allowed else {}
    if allowed and request.method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    error: RequestError = RouteNotFound(_no_such_path(path, routes))
    if allowed:
        methods = " or ".join(method for method in allowed if method not in ("HEAD", "OPTIONS"))
        error = MethodNotAllowed(f"{path} takes {methods}, not {request.method}")
    record_of(request.scope).error = error.code
    response = error_response(error, request.scope)
    response.headers.update(headers)
    return response


def _no_such_path(path: str, routes: Sequence[BaseRoute]) -> str:
    if meant := nearest(path, routes):
        return f"no such path: {path}; did you mean {meant}?"
    served = (route for route in routes if isinstance(route, Route))
    paths = [route.path for route in served if route.path.startswith(_API)]
    known = [path for path in paths if "{" not in path]
    return f"no such path: {path}; there are {', '.join(known)}"


def _form(scope: Scope) -> ErrorForm:
    """Return the form of the API that the request's path belongs to."""
    path = scope["path"]
    return next((form for prefix, form in _FORMS if path.startswith(prefix)), _OPENAI)


def _log_unexpected(error: Exception, record: Record) -> None:
    # Without the text of the exception, which may quote the prompt.
    frames = "".join(traceback.format_tb(error.__traceback__))
    details = {"request": record.request_id}
    _log.error("unexpected %s\n%s", type(error).__name__, frames, extra={"details": details})
