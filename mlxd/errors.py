"""All exceptions of mlxd, as a tree.

`RequestError`: the request is at fault. `Unavailable`: not possible now, perhaps later.
`EngineError`: an engine is at fault. The others end the daemon.

Only `mlxd.http.error_replies` turns them into replies, only `mlxd.__main__` into exit statuses, and
an engine turns its own into messages to the daemon.
"""

from typing import ClassVar


class MlxdError(Exception):
    """Base class: `message` is one line for the user, and valid Unicode whatever it quotes.

    `status` is that of the reply, `type` and `code` are OpenAI's; `retry_after` is in seconds.
    Classes inherit what they do not name.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: ClassVar[str | None] = None
    retry_after: int | None = None

    def __init_subclass__(
        cls, status: int | None = None, code: str | None = None, retry_after: int | None = None
    ) -> None:
        cls.status = status or cls.status
        cls.code = code or cls.code
        cls.retry_after = retry_after or cls.retry_after

    def __init__(self, message: str, *, param: str | None = None) -> None:
        message = message.encode(errors="backslashreplace").decode()
        super().__init__(message)
        self.message = message
        self.param = param


class RequestError(MlxdError, status=400):
    """The request is at fault; repeating it does not help."""

    type = "invalid_request_error"


class InvalidRequest(RequestError):
    """The body is malformed or has an invalid value; `param` is the path of the field."""


class UnsupportedParameter(RequestError, code="unsupported_parameter"):
    """A known field is not supported."""


class ThreadUnsupported(RequestError, code="thread_unsupported_request"):
    """The server is to hold a conversation of Anthropic's API; clients then send all of it."""


class ContextLengthExceeded(RequestError, code="context_length_exceeded"):
    """The prompt is longer than the model's context."""


class PreviousResponseNotFound(RequestError, code="previous_response_not_found"):
    """The response that a request goes on from is not stored."""


class PullRefused(RequestError, code="pull_refused"):
    """The hub denies or does not have the model, or it cannot run on this machine."""


class EndsEngine(RequestError, code="request_ends_engine"):
    """The same request ended the engine a short while ago, so that it is not run."""


class Unauthorized(RequestError, status=401, code="invalid_api_key"):
    """The API key is missing or wrong."""


class Forbidden(RequestError, status=403, code="forbidden"):
    """The Host or Origin is not allowed."""


class ModelForbidden(RequestError, status=403, code="model_not_allowed"):
    """The API key may not use the model."""


class NotRemovable(RequestError, status=403, code="not_removable"):
    """The model does not belong to mlxd, or the file system refuses to remove it."""


class ModelNotFound(RequestError, status=404, code="model_not_found"):
    """There is no such model, or the one with the id `found` cannot be served."""

    def __init__(self, message: str, *, param: str | None = None, found: str | None = None) -> None:
        super().__init__(message, param=param)
        self.found = found


class ResponseNotFound(RequestError, status=404, code="response_not_found"):
    """There is no such stored response."""


class RouteNotFound(RequestError, status=404, code="not_found"):
    """There is no such path."""


class MethodNotAllowed(RequestError, status=405, code="method_not_allowed"):
    """The path does not allow the method."""


class RequestTimeout(RequestError, status=408, code="request_timeout"):
    """The head or the body of a request comes too slowly."""


class ModelInUse(RequestError, status=409, code="model_in_use"):
    """The model is in memory, or requests wait for it."""


class BodyTooLarge(RequestError, status=413, code="body_too_large"):
    """The body is larger than `server.max_body`."""


class UnsupportedMediaType(RequestError, status=415, code="unsupported_media_type"):
    """The content type of the body is not JSON."""


class HeadTooLarge(RequestError, status=431, code="head_too_large"):
    """The request line and the headers are too large."""


class Unavailable(MlxdError, status=503, retry_after=1):
    """Not possible now; the same request may succeed after `retry_after` seconds."""

    type = "service_unavailable_error"


class QueueFull(Unavailable, status=429, code="queue_full"):
    """As much as `server.max_queue` or `server.max_queue_size` allows is running or waiting."""

    type = "rate_limit_error"


class RateLimited(Unavailable, status=429, code="rate_limit_exceeded"):
    """A limit of the section [limits], or of the API key, is reached; `seconds` until that ends."""

    type = "rate_limit_error"

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.retry_after = seconds


class TooManyConnections(Unavailable, code="too_many_connections"):
    """As many connections as `server.max_connections` allows are open and busy."""


class Draining(Unavailable, code="draining", retry_after=2):
    """The daemon is stopping."""


class LoadFailed(Unavailable, code="load_failed", retry_after=10):
    """The model could not be loaded."""


class NotAlone(Unavailable, code="request_not_alone", retry_after=10):
    """The request may have ended an engine, and waited too long for the others to end."""


class InsufficientMemory(Unavailable, code="insufficient_memory", retry_after=60):
    """The model does not fit in memory; the message explains the arithmetic."""


class PullFailed(Unavailable, code="pull_failed", retry_after=60):
    """A model was not downloaded; the message says what to do first."""


class HubUnreachable(Unavailable, code="hub_unreachable", retry_after=60):
    """A model was not downloaded: the hub is unreachable or its reply is invalid."""


class EngineError(MlxdError):
    """An engine is at fault, for one sequence or for all."""


class GenerationFailed(EngineError, code="generation_failed"):
    """One sequence failed."""


class EngineDied(EngineError, code="engine_died"):
    """The engine process has exited, or does not respond."""


class ConfigError(MlxdError):
    """The configuration is at fault; the message names file, key, value and what is allowed."""


class StartupError(MlxdError):
    """The daemon cannot start: a port is in use, another daemon runs, permission is missing."""


class ServingFailed(MlxdError):
    """The daemon cannot go on: one of its servers has failed."""
