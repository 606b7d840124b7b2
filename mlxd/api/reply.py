"""What surrounds the choices in OpenAI's chat and text replies, whole and in pieces."""

import secrets

import msgspec
from msgspec import UNSET, UnsetType

from mlxd import __version__, messages

FINGERPRINT = f"mlxd-{__version__}"
DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """How many of the prompt's tokens came from the prompt cache."""

    cached_tokens: int


class Usage(msgspec.Struct, frozen=True):
    """Token counts, as OpenAI names them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class Reply(msgspec.Struct, frozen=True):
    """A whole reply, or one chunk of it; `choices` holds the dialect's own Structs."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[msgspec.Struct]
    usage: Usage | UnsetType | None


class Envelope:
    """Wraps the choices of one answer; `created` is unix time."""

    def __init__(self, id_prefix: str, model: str, created: int, *, include_usage: bool) -> None:
        self._id = f"{id_prefix}-{secrets.token_hex(12)}"
        self._model = model
        self._created = created
        self._include_usage = include_usage
        self._usage_in_chunks: UnsetType | None = None if include_usage else UNSET

    def whole(self, kind: str, choice: msgspec.Struct, counts: messages.Usage | None) -> bytes:
        """Give the reply to a request that does not stream, as JSON."""
        return _encode(self._wrap(kind, [choice], usage_of(counts) if counts else None))

    def chunk(self, kind: str, choice: msgspec.Struct) -> bytes:
        """Give one chunk of a stream, as SSE."""
        return b"data: %b\n\n" % _encode(self._wrap(kind, [choice], self._usage_in_chunks))

    def end(self, kind: str, counts: messages.Usage) -> bytes:
        """Give what ends a stream: the token counts where they are asked for, and `[DONE]`."""
        if not self._include_usage:
            return DONE
        return b"data: %b\n\n" % _encode(self._wrap(kind, [], usage_of(counts))) + DONE

    def _wrap(
        self, kind: str, choices: list[msgspec.Struct], usage: Usage | UnsetType | None
    ) -> Reply:
        return Reply(self._id, kind, self._created, self._model, FINGERPRINT, choices, usage)


def usage_of(counts: messages.Usage) -> Usage:
    """Give `counts` as OpenAI names them."""
    return Usage(
        prompt_tokens=counts.prompt_tokens,
        completion_tokens=counts.completion_tokens,
        total_tokens=counts.prompt_tokens + counts.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=counts.cached_tokens),
    )
