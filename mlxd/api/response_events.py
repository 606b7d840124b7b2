"""The events of a streamed response, as the Open Responses specification (2026-04-24) lists them.

Custom tools have events of OpenAI's own. A local model has no refusals and no citations, so their
events never occur.
"""

from typing import Literal

import msgspec

from mlxd.api.openai_errors import ErrorObject
from mlxd.api.response_resource import (
    OutputItem,
    OutputText,
    OutputTokenLogprob,
    ReasoningText,
    Response,
    SummaryText,
)


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    sequence_number: int


class ResponseEvent(_Event, frozen=True, kw_only=True):
    """The response has another status."""

    type: Literal[
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    response: Response


class ItemEvent(_Event, frozen=True, kw_only=True):
    """An item begins or is finished."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int
    item: OutputItem


class _OfItem(_Event, frozen=True, kw_only=True):
    item_id: str
    output_index: int


class PartEvent(_OfItem, frozen=True, kw_only=True):
    """A part of an item's content begins or is finished."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    content_index: int = 0
    part: OutputText | ReasoningText


class OutputTextDelta(_OfItem, frozen=True, kw_only=True):
    """More text of an answer."""

    type: Literal["response.output_text.delta"] = "response.output_text.delta"
    content_index: int = 0
    delta: str
    logprobs: list[OutputTokenLogprob] = []


class OutputTextDone(_OfItem, frozen=True, kw_only=True):
    """The whole text of an answer."""

    type: Literal["response.output_text.done"] = "response.output_text.done"
    content_index: int = 0
    text: str
    logprobs: list[OutputTokenLogprob] = []


class ThoughtDelta(_OfItem, frozen=True, kw_only=True):
    """More text of a thought."""

    type: Literal["response.reasoning.delta"] = "response.reasoning.delta"
    content_index: int = 0
    delta: str


class ThoughtDone(_OfItem, frozen=True, kw_only=True):
    """The whole text of a thought."""

    type: Literal["response.reasoning.done"] = "response.reasoning.done"
    content_index: int = 0
    text: str


class SummaryPartEvent(_OfItem, frozen=True, kw_only=True):
    """A part of a summary begins or is finished."""

    type: Literal["response.reasoning_summary_part.added", "response.reasoning_summary_part.done"]
    summary_index: int = 0
    part: SummaryText


class SummaryDelta(_OfItem, frozen=True, kw_only=True):
    """More text of a summary."""

    type: Literal["response.reasoning_summary_text.delta"] = "response.reasoning_summary_text.delta"
    summary_index: int = 0
    delta: str


class SummaryDone(_OfItem, frozen=True, kw_only=True):
    """The whole text of a summary."""

    type: Literal["response.reasoning_summary_text.done"] = "response.reasoning_summary_text.done"
    summary_index: int = 0
    text: str


class CallDelta(_OfItem, frozen=True, kw_only=True):
    """More text of a call: the arguments of a function, or the input of a custom tool."""

    type: Literal["response.function_call_arguments.delta", "response.custom_tool_call_input.delta"]
    delta: str


class ArgumentsDone(_OfItem, frozen=True, kw_only=True):
    """The whole arguments of a function call."""

    type: Literal["response.function_call_arguments.done"] = "response.function_call_arguments.done"
    name: str
    arguments: str


class InputDone(_OfItem, frozen=True, kw_only=True):
    """The whole input of a custom tool."""

    type: Literal["response.custom_tool_call_input.done"] = "response.custom_tool_call_input.done"
    input: str


class ErrorEvent(_Event, frozen=True, kw_only=True):
    """The response fails; `response.failed` follows."""

    type: Literal["error"] = "error"
    error: ErrorObject
    code: str | None
    message: str
    param: str | None


StreamEvent = (
    ResponseEvent
    | ItemEvent
    | PartEvent
    | OutputTextDelta
    | OutputTextDone
    | ThoughtDelta
    | ThoughtDone
    | SummaryPartEvent
    | SummaryDelta
    | SummaryDone
    | CallDelta
    | ArgumentsDone
    | InputDone
    | ErrorEvent
)
