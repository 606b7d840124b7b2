"""Errors as OpenAI's API writes them."""

import msgspec

from mlxd.errors import MlxdError


class ErrorObject(msgspec.Struct, frozen=True):
    """OpenAI's error object; `param` is the path of the field at fault."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(msgspec.Struct, frozen=True):
    """The reply to a request that failed."""

    error: ErrorObject


class OpenAIErrors:
    """Writes errors; in a stream, as an event without a name."""

    def whole(self, error: MlxdError) -> bytes:
        """Return the body of a reply."""
        detail = ErrorObject(error.message, error.type, error.param, error.code)
        return msgspec.json.encode(ErrorReply(detail))

    def event(self, error: MlxdError) -> bytes:
        """Return the last event of a stream that had begun."""
        return b"data: %b\n\n" % self.whole(error)
