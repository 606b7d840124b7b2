"""All exceptions of mlxd.

    MlxdError
    ├── RequestError             the request is at fault
    │   ├── InvalidRequest           400
    │   ├── UnsupportedParameter     400
    │   ├── ContextLengthExceeded    400
    │   ├── PullRefused              400
    │   ├── Unauthorized             401
    │   ├── Forbidden                403
    │   ├── NotRemovable             403
    │   ├── ModelNotFound            404
    │   ├── RouteNotFound            404
    │   ├── MethodNotAllowed         405
    │   ├── ModelInUse               409
    │   ├── BodyTooLarge             413
    │   └── UnsupportedMediaType     415
    ├── Unavailable              not possible now, perhaps later
    │   ├── QueueFull                429
    │   ├── Draining                 503
    │   ├── InsufficientMemory       503
    │   ├── PullFailed               503
    │   ├── HubUnreachable           503
    │   └── LoadFailed               503
    ├── EngineError              an engine is at fault
    │   ├── GenerationFailed         500, one sequence
    │   └── EngineDied               500, all sequences of one engine
    ├── ConfigError              the configuration is at fault: exit 78
    ├── StartupError             the daemon cannot start: exit 1
    └── ServingFailed            the daemon cannot go on: exit 1

Only `mlxd.http.error_replies` turns them into replies, and only `mlxd.__main__` into exit statuses.
"""

from typing import ClassVar


class MlxdError(Exception):
    """Base class: `message` is one line for the user, and valid Unicode whatever it quotes."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: ClassVar[str | None] = None

    def __init__(self, message: str, *, param: str | None = None) -> None:
        message = message.encode(errors="backslashreplace").decode()
        super().__init__(message)
        self.message = message
        self.param = param


class RequestError(MlxdError):
    """The request is at fault; repeating it does not help."""

    status = 400
    type = "invalid_request_error"


class InvalidRequest(RequestError):
    """The body is malformed or has an invalid value; `param` is the path of the field."""


class UnsupportedParameter(RequestError):
    """A known field is not supported."""

    code = "unsupported_parameter"


class ContextLengthExceeded(RequestError):
    """The prompt is longer than the model's context."""

    code = "context_length_exceeded"


class Unauthorized(RequestError):
    """The API key is missing or wrong."""

    status = 401
    code = "invalid_api_key"


class Forbidden(RequestError):
    """The Host or Origin is not allowed."""

    status = 403
    code = "forbidden"


class NotRemovable(RequestError):
    """The model does not belong to mlxd, or the file system refuses to remove it."""

    status = 403
    code = "not_removable"


class ModelNotFound(RequestError):
    """There is no such model."""

    status = 404
    code = "model_not_found"


class RouteNotFound(RequestError):
    """There is no such path."""

    status = 404
    code = "not_found"


class MethodNotAllowed(RequestError):
    """The path does not allow the method."""

    status = 405
    code = "method_not_allowed"


class ModelInUse(RequestError):
    """The model is in memory, or requests wait for it."""

    status = 409
    code = "model_in_use"


class PullRefused(RequestError):
    """The hub denies or does not have the model, or it cannot run on this machine."""

    code = "pull_refused"


class BodyTooLarge(RequestError):
    """The body is larger than `server.max_body`."""

    status = 413
    code = "body_too_large"


class UnsupportedMediaType(RequestError):
    """The content type of the body is not JSON."""

    status = 415
    code = "unsupported_media_type"


class Unavailable(MlxdError):
    """Not possible now; the same request may succeed after `retry_after` seconds."""

    status = 503
    type = "service_unavailable_error"
    retry_after: ClassVar[int] = 1


class QueueFull(Unavailable):
    """As many requests as `server.max_queue` allows are running or waiting."""

    status = 429
    type = "rate_limit_error"
    code = "queue_full"


class Draining(Unavailable):
    """The daemon is stopping."""

    code = "draining"
    retry_after = 2


class InsufficientMemory(Unavailable):
    """The model does not fit in memory; the message explains the arithmetic."""

    code = "insufficient_memory"
    retry_after = 60


class PullFailed(Unavailable):
    """A model was not downloaded; the message says what to do first."""

    code = "pull_failed"
    retry_after = 60


class HubUnreachable(Unavailable):
    """A model was not downloaded: the hub is unreachable or its reply is invalid."""

    code = "hub_unreachable"
    retry_after = 60


class LoadFailed(Unavailable):
    """The model could not be loaded."""

    code = "load_failed"
    retry_after = 10


class EngineError(MlxdError):
    """An engine is at fault."""


class GenerationFailed(EngineError):
    """One sequence failed."""

    code = "generation_failed"


class EngineDied(EngineError):
    """The engine process has exited, or does not respond."""

    code = "engine_died"


class ConfigError(MlxdError):
    """The configuration is at fault; the message names file, key, value and what is allowed."""


class StartupError(MlxdError):
    """The daemon cannot start: a port is in use, another daemon runs, permission is missing."""


class ServingFailed(MlxdError):
    """The daemon cannot go on: one of its servers has failed."""
