"""Every exception of ours.

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
    ├── Unavailable              not now, perhaps later
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
    ├── StartupError             this daemon cannot start here and now: exit 1
    └── ServingFailed            this daemon cannot go on: exit 1

`mlxd.http.error_replies` turns them into replies, `mlxd.__main__` into exit statuses, an engine its
own into messages to the daemon, and nobody else does.
"""

from typing import ClassVar


class MlxdError(Exception):
    """Base of all: `message` is one line fit for a user, and can be encoded whatever it quotes."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: ClassVar[str | None] = None

    def __init__(self, message: str, *, param: str | None = None) -> None:
        message = message.encode(errors="backslashreplace").decode()
        super().__init__(message)
        self.message = message
        self.param = param


class RequestError(MlxdError):
    """The request is at fault; asking the same again gives the same."""

    status = 400
    type = "invalid_request_error"


class InvalidRequest(RequestError):
    """A malformed body or a bad value; `param` is the path of the field."""


class UnsupportedParameter(RequestError):
    """A field we know and cannot honour."""

    code = "unsupported_parameter"


class ContextLengthExceeded(RequestError):
    """The prompt is longer than the model's context."""

    code = "context_length_exceeded"


class Unauthorized(RequestError):
    """No API key, or a wrong one."""

    status = 401
    code = "invalid_api_key"


class Forbidden(RequestError):
    """A foreign Host or Origin."""

    status = 403
    code = "forbidden"


class NotRemovable(RequestError):
    """A model that is not ours to remove, or that the file system keeps."""

    status = 403
    code = "not_removable"


class ModelNotFound(RequestError):
    """No such model in the catalog."""

    status = 404
    code = "model_not_found"


class RouteNotFound(RequestError):
    """No such path."""

    status = 404
    code = "not_found"


class MethodNotAllowed(RequestError):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"


class ModelInUse(RequestError):
    """A model that is in memory, or that requests wait for."""

    status = 409
    code = "model_in_use"


class PullRefused(RequestError):
    """The hub has no such model for us, or it is none that can run here."""

    code = "pull_refused"


class BodyTooLarge(RequestError):
    """The body is over `server.max_body`."""

    status = 413
    code = "body_too_large"


class UnsupportedMediaType(RequestError):
    """The body is announced as something else than JSON."""

    status = 415
    code = "unsupported_media_type"


class Unavailable(MlxdError):
    """Not now; the same request may succeed in `retry_after` seconds."""

    status = 503
    type = "service_unavailable_error"
    retry_after: ClassVar[int] = 1


class QueueFull(Unavailable):
    """`server.max_queue` requests are already accepted."""

    status = 429
    type = "rate_limit_error"
    code = "queue_full"


class Draining(Unavailable):
    """The daemon is stopping."""

    code = "draining"
    retry_after = 2


class InsufficientMemory(Unavailable):
    """The model does not fit in memory; the message has the arithmetic."""

    code = "insufficient_memory"
    retry_after = 60


class PullFailed(Unavailable):
    """A model was not downloaded; somebody has to do something about it first."""

    code = "pull_failed"
    retry_after = 60


class HubUnreachable(Unavailable):
    """A model was not downloaded: the hub does not answer, or not sensibly."""

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
    """The engine process has ended, or does not answer."""

    code = "engine_died"


class ConfigError(MlxdError):
    """The configuration is at fault: names the file, the key, what was found, what is allowed."""


class StartupError(MlxdError):
    """This daemon cannot start here and now: a port in use, another daemon, no permission."""


class ServingFailed(MlxdError):
    """This daemon cannot go on: one of its servers has ended by itself."""
