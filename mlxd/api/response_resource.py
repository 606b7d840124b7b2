"""The reply of the Responses API: a response and its items."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from mlxd.api.decode import doc
from mlxd.errors import MlxdError
from mlxd.messages import TokenLogprob, TopLogprob, Usage

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputLogprob(msgspec.Struct, frozen=True):
    """A candidate token. `bytes` is its text in UTF-8."""

    token: str
    logprob: float
    bytes: list[int]


class OutputTokenLogprob(OutputLogprob, frozen=True):
    """A token of the answer, and the most likely tokens at its position."""

    top_logprobs: list[OutputLogprob]


class OutputText(msgspec.Struct, frozen=True, tag_field="type", tag="output_text"):
    """The text of an answer."""

    text: str
    annotations: list[Any] = []
    logprobs: list[OutputTokenLogprob] = []


class ReasoningText(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning_text"):
    """The text of a thought."""

    text: str


class SummaryText(msgspec.Struct, frozen=True, tag_field="type", tag="summary_text"):
    """A thought as a summary. It is not shortened."""

    text: str


class OutputMessage(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    """An answer."""

    id: str
    status: ItemStatus
    content: list[OutputText]
    role: Literal["assistant"] = "assistant"


class OutputReasoning(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning"):
    """The reasoning before an answer."""

    id: str
    status: ItemStatus
    content: list[ReasoningText]
    summary: list[SummaryText]
    encrypted_content: str | UnsetType = UNSET


class OutputFunctionCall(msgspec.Struct, frozen=True, tag_field="type", tag="function_call"):
    """A function call that the model requests. `arguments` is a JSON object as a string."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str
    namespace: str | UnsetType = UNSET


class OutputCustomToolCall(msgspec.Struct, frozen=True, tag_field="type", tag="custom_tool_call"):
    """A call of a custom tool that the model requests."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    input: str
    namespace: str | UnsetType = UNSET


class OutputCompaction(msgspec.Struct, frozen=True, tag_field="type", tag="compaction"):
    """A conversation in short, to be sent back as it is."""

    id: str
    encrypted_content: str


OutputCall = OutputFunctionCall | OutputCustomToolCall
OutputItem = OutputMessage | OutputReasoning | OutputFunctionCall | OutputCustomToolCall


class InputTokensDetails(msgspec.Struct, frozen=True):
    """How many of the prompt's tokens came from the prompt cache."""

    cached_tokens: int


class OutputTokensDetails(msgspec.Struct, frozen=True):
    """How many of the answer's tokens the model spent on reasoning."""

    reasoning_tokens: int


class ResponseUsage(msgspec.Struct, frozen=True):
    """Token counts."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class IncompleteDetails(msgspec.Struct, frozen=True):
    """Why an answer is not complete."""

    reason: str


class ResponseError(msgspec.Struct, frozen=True):
    """Why a response failed."""

    code: str
    message: str


class ReasoningSettings(msgspec.Struct, frozen=True):
    """How the model was asked to think."""

    effort: str | None = None
    summary: str | None = None


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A response. Times are in Unix seconds.

    What repeats the request is shown with the defaults that were used.
    """

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status
    model: str
    output: list[OutputItem] = []
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    usage: ResponseUsage | None = None
    previous_response_id: str | None
    instructions: str | None
    tools: Annotated[msgspec.Raw, doc("The tools of the request.", list[Any])]
    tool_choice: Annotated[msgspec.Raw, doc("The tool choice of the request.", str, dict[str, Any])]
    parallel_tool_calls: bool
    text: dict[str, Any]
    reasoning: ReasoningSettings
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    top_logprobs: int
    max_output_tokens: int | None
    max_tool_calls: int | None
    truncation: Literal["auto", "disabled"] = "disabled"
    store: bool
    background: bool
    service_tier: str = "default"
    metadata: dict[str, str]
    prompt_cache_key: str | None
    safety_identifier: str | None
    user: str | None


Settings = Mapping[str, Any]
"""The fields of a response that repeat the request."""
_OWN = frozenset(
    {
        "id",
        "object",
        "created_at",
        "completed_at",
        "status",
        "output",
        "error",
        "incomplete_details",
        "usage",
    }
)


def settings_of(response: Response) -> Settings:
    """Return the fields of a response that repeat its request."""
    names = [name for name in Response.__struct_fields__ if name not in _OWN]
    return {name: getattr(response, name) for name in names}


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of `POST /v1/responses/compact`."""

    id: str
    object: Literal["response.compaction"] = "response.compaction"
    created_at: int
    output: list[OutputCompaction]
    usage: ResponseUsage


class InputTokens(msgspec.Struct, frozen=True):
    """The reply of `POST /v1/responses/input_tokens`."""

    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"


class ItemList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the items that a response was made of."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedResponse(msgspec.Struct, frozen=True):
    """The reply to a deletion."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


def usage_of(counts: Usage) -> ResponseUsage:
    """Return token counts in this API's form."""
    return ResponseUsage(
        counts.prompt_tokens,
        InputTokensDetails(counts.cached_tokens),
        counts.completion_tokens,
        OutputTokensDetails(counts.reasoning_tokens),
        counts.prompt_tokens + counts.completion_tokens,
    )


def error_of(error: MlxdError) -> ResponseError:
    """Return an error in this API's form."""
    return ResponseError(error.code or "server_error", error.message)


def logprobs_of(tokens: list[TokenLogprob]) -> list[OutputTokenLogprob]:
    """Return log-probabilities in this API's form."""
    return [
        OutputTokenLogprob(*_chance(t.token), [OutputLogprob(*_chance(o)) for o in t.top])
        for t in tokens
    ]


def _chance(token: TopLogprob) -> tuple[str, float, list[int]]:
    return token.text, token.logprob, list(token.bytes)
