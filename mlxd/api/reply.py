"""What surrounds the choices in OpenAI's chat and text replies, whole and in pieces."""

import secrets
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mlxd import __version__, messages

FINGERPRINT = f"mlxd-{__version__}"
DONE = b"data: [DONE]\n\n"

ChoiceT = TypeVar("ChoiceT")
_encode = msgspec.json.Encoder().encode


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """How many of the prompt's tokens came from the prompt cache."""

    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    """How many of the answer's tokens the model spent on thinking."""

    reasoning_tokens: int


class CompletionUsage(msgspec.Struct, frozen=True):
    """Token counts, as OpenAI names them; a prompt counts once, however many answers it has."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class Reply(msgspec.Struct, Generic[ChoiceT], frozen=True):
    """A whole reply, or one chunk of it; `created` is unix time."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChoiceT]
    usage: Annotated[
        CompletionUsage | UnsetType | None,
        Meta(description="In the chunks of a stream only where `stream_options` asks for it."),
    ] = UNSET


class Envelope:
    """Wraps the choices of one answer; `created` is unix time.

    `whole` and `chunk` are what the dialect calls a whole reply and a chunk of one.
    """

    def __init__(
        self,
        model: str,
        created: int,
        *,
        id_prefix: str,
        whole: str,
        chunk: str,
        include_usage: bool,
    ) -> None:
        self._id = f"{id_prefix}-{secrets.token_hex(12)}"
        self._model = model
        self._created = created
        self._whole = whole
        self._chunk = chunk
        self._include_usage = include_usage
        self._usage_in_chunks: UnsetType | None = None if include_usage else UNSET

    def whole(self, choices: list[Any], counts: messages.Usage | None) -> bytes:
        """Give the reply to a request that does not stream, as JSON."""
        return _encode(self._wrap(self._whole, choices, usage_of(counts) if counts else None))

    def chunk(self, choice: msgspec.Struct) -> bytes:
        """Give one chunk of a stream, as SSE."""
        return b"data: %b\n\n" % _encode(self._wrap(self._chunk, [choice], self._usage_in_chunks))

    def end(self, counts: messages.Usage) -> bytes:
        """Give what ends a stream: the token counts where they are asked for, and `[DONE]`."""
        if not self._include_usage:
            return DONE
        return b"data: %b\n\n" % _encode(self._wrap(self._chunk, [], usage_of(counts))) + DONE

    def _wrap(
        self, kind: str, choices: list[Any], usage: CompletionUsage | UnsetType | None
    ) -> Reply[Any]:
        return Reply(self._id, kind, self._created, self._model, FINGERPRINT, choices, usage)


def usage_of(counts: messages.Usage) -> CompletionUsage:
    """Give `counts` as OpenAI names them."""
    return CompletionUsage(
        prompt_tokens=counts.prompt_tokens,
        completion_tokens=counts.completion_tokens,
        total_tokens=counts.prompt_tokens + counts.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(counts.cached_tokens),
        completion_tokens_details=CompletionTokensDetails(counts.reasoning_tokens),
    )
