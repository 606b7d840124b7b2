"""The types of Anthropic's replies, events and errors, and how errors and models are written.

The format is Anthropic's: https://platform.claude.com/docs/en/api/messages
"""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from mlxd.api.reply import OverlookedKeyword
from mlxd.errors import MlxdError, ThreadUnsupported

StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"
]

_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
}


class TextBlock(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Text of the answer."""

    text: str


class ThinkingBlock(msgspec.Struct, frozen=True, tag_field="type", tag="thinking"):
    """What the model thought before it went on."""

    thinking: str
    signature: str


class ToolUseBlock(msgspec.Struct, frozen=True, tag_field="type", tag="tool_use"):
    """A call of a tool."""

    id: str
    name: str
    input: Any


AnswerBlock = TextBlock | ThinkingBlock | ToolUseBlock


class OutputDetails(msgspec.Struct, frozen=True):
    """How many of the answer's tokens the model spent on thoughts."""

    thinking_tokens: int


class MessageUsage(msgspec.Struct, frozen=True):
    """Token counts. Together, the three for the input are the prompt, if it marks cached places.

    Otherwise `input_tokens` are the whole prompt.
    """

    input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: OutputDetails | UnsetType = UNSET
    cache_creation_input_tokens: int = 0


class AnthropicReply(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """A whole reply, or the beginning of a stream."""

    id: str
    model: str
    content: list[AnswerBlock]
    usage: MessageUsage
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    role: Literal["assistant"] = "assistant"
    warnings: list[OverlookedKeyword] | UnsetType = UNSET


class TextDelta(msgspec.Struct, frozen=True, tag_field="type", tag="text_delta"):
    """More text."""

    text: str


class ThinkingDelta(msgspec.Struct, frozen=True, tag_field="type", tag="thinking_delta"):
    """More thoughts."""

    thinking: str


class SignatureDelta(msgspec.Struct, frozen=True, tag_field="type", tag="signature_delta"):
    """The signature of the thoughts that end."""

    signature: str


class InputDelta(msgspec.Struct, frozen=True, tag_field="type", tag="input_json_delta"):
    """The input of a call, as JSON text."""

    partial_json: str


BlockDelta = TextDelta | ThinkingDelta | SignatureDelta | InputDelta


class MessageStart(msgspec.Struct, frozen=True, tag_field="type", tag="message_start"):
    """The first event."""

    message: AnthropicReply


class BlockStart(msgspec.Struct, frozen=True, tag_field="type", tag="content_block_start"):
    """A block begins, empty."""

    index: int
    content_block: AnswerBlock


class BlockPiece(msgspec.Struct, frozen=True, tag_field="type", tag="content_block_delta"):
    """More of the open block."""

    index: int
    delta: BlockDelta


class BlockStop(msgspec.Struct, frozen=True, tag_field="type", tag="content_block_stop"):
    """The open block ends."""

    index: int


class StopInfo(msgspec.Struct, frozen=True):
    """Why the answer ended."""

    stop_reason: StopReason | None
    stop_sequence: str | None


class MessageEnd(msgspec.Struct, frozen=True, tag_field="type", tag="message_delta"):
    """Why the answer ended, and its token counts."""

    delta: StopInfo
    usage: MessageUsage


class MessageStop(msgspec.Struct, frozen=True, tag_field="type", tag="message_stop"):
    """The last event."""


StreamedEvent = MessageStart | BlockStart | BlockPiece | BlockStop | MessageEnd | MessageStop


class TokenCount(msgspec.Struct, frozen=True):
    """How many tokens a prompt has."""

    input_tokens: int


class AnthropicErrorDetails(msgspec.Struct, frozen=True):
    """What a program may do about an error."""

    error_code: str


class AnthropicErrorObject(msgspec.Struct, frozen=True):
    """Anthropic's error object."""

    type: str
    message: str
    details: AnthropicErrorDetails | UnsetType = UNSET


class AnthropicErrorReply(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """The reply to a request that failed."""

    error: AnthropicErrorObject


class AnthropicErrors:
    """Writes errors as Anthropic's API does."""

    def whole(self, error: MlxdError) -> bytes:
        """Return the body of a reply."""
        kind = _ERROR_TYPES.get(error.status, "invalid_request_error")
        reply = AnthropicErrorObject(kind, error.message)
        if isinstance(error, ThreadUnsupported) and error.code:
            details = AnthropicErrorDetails(error.code)
            reply = msgspec.structs.replace(reply, details=details)
        return msgspec.json.encode(AnthropicErrorReply(reply))

    def event(self, error: MlxdError) -> bytes:
        """Return the last event of a stream that had begun."""
        return b"event: error\ndata: %b\n\n" % self.whole(error)


class AnthropicModel(msgspec.Struct, frozen=True, tag_field="type", tag="model"):
    """A model, with the time that it was installed."""

    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"] = "active"


class AnthropicModelList(msgspec.Struct, frozen=True):
    """Every model that a request can name, on one page."""

    data: list[AnthropicModel]
    first_id: str | None
    last_id: str | None
    has_more: bool = False


def describe_model(model_id: str, created: int) -> AnthropicModel:
    """Return the description of a model; `created` is in Unix seconds."""
    return AnthropicModel(model_id, model_id, datetime.fromtimestamp(created, UTC).isoformat())


def list_models(models: list[AnthropicModel]) -> AnthropicModelList:
    """Return the list of all models."""
    first, last = (models[0].id, models[-1].id) if models else (None, None)
    return AnthropicModelList(models, first, last)
