"""The shape of a chat reply: whole, and in chunks."""

import secrets
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from mlxd.api.decode import doc
from mlxd.api.reply_builder import ChoiceBuilder, FinishReason
from mlxd.messages import Delta, Event, Finished, Reasoning, TokenLogprob, ToolCall, TopLogprob


class TokenChance(msgspec.Struct, frozen=True):
    """A candidate token. `bytes` is its text in UTF-8."""

    token: str
    logprob: float
    bytes: list[int]
    id: int


class ChosenToken(TokenChance, frozen=True):
    """A token of the answer, and the most likely tokens at its position."""

    top_logprobs: list[TokenChance]


class Logprobs(msgspec.Struct, frozen=True):
    """The natural log-probabilities of the tokens of `content`."""

    content: list[ChosenToken]
    refusal: None = None


class FunctionCall(msgspec.Struct, frozen=True):
    """The function to call. `arguments` is JSON as a string, nearly always an object."""

    name: str
    arguments: str


class MessageToolCall(msgspec.Struct, frozen=True):
    """A function call that the model requests."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class AnswerMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer. `reasoning` is another name for `reasoning_content`."""

    role: Literal["assistant"]
    content: Annotated[str | None, doc("Null if the model only calls functions.")]
    refusal: None = None
    reasoning_content: Annotated[str | UnsetType, doc("The reasoning before the answer.")] = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[MessageToolCall] | UnsetType = UNSET


class ChatChoice(msgspec.Struct, frozen=True):
    """One answer of a whole reply."""

    index: int
    message: AnswerMessage
    logprobs: Logprobs | None
    finish_reason: FinishReason | None


class FunctionCallDelta(msgspec.Struct, frozen=True):
    """What a chunk adds to the function of a call."""

    arguments: str
    name: str | UnsetType = UNSET


class ToolCallDelta(msgspec.Struct, frozen=True):
    """What a chunk adds to call number `index`. The first one names the function."""

    index: int
    function: FunctionCallDelta
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class ChoiceDelta(msgspec.Struct, frozen=True, kw_only=True):
    """What one chunk adds to the answer."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET


class ChatChunkChoice(msgspec.Struct, frozen=True):
    """One answer's part in a chunk."""

    index: int
    delta: ChoiceDelta
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None


class ChatChoiceBuilder(ChoiceBuilder):
    """One choice of a chat reply."""

    id_prefix = "chatcmpl"
    object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def __init__(self, index: int, *, logprobs: bool) -> None:
        super().__init__(index, logprobs=logprobs)
        self._begun = False
        self._calls_shown = 0

    def whole(self) -> ChatChoice:
        """Return the choice's part in a whole reply."""
        reasoning = "".join(self._reasoning) or UNSET
        calls = [
            MessageToolCall(_id_of(call), "function", FunctionCall(call.name, call.arguments))
            for call in self._calls
        ]
        message = AnswerMessage(
            role="assistant",
            content="".join(self._text) or (None if calls else ""),
            reasoning_content=reasoning,
            reasoning=reasoning,
            tool_calls=calls or UNSET,
        )
        tokens = [token for _, tokens in self._logprobs for token in tokens]
        logprobs = _logprobs(tokens) if self._wants_logprobs else None
        return ChatChoice(self._index, message, logprobs, self._finish_reason)

    def chunks(self, event: Event) -> list[ChatChunkChoice]:
        """Return the choice's part in each chunk that `event` makes."""
        logprobs = reason = None
        match event:
            case Delta(text=text, logprobs=tokens):
                deltas = [ChoiceDelta(content=text)]
                logprobs = _logprobs(tokens) if tokens else None
            case Finished():
                deltas = [ChoiceDelta()]
                reason = event.reason
            case Reasoning(text=text):
                deltas = [ChoiceDelta(reasoning_content=text, reasoning=text)]
            case ToolCall():
                deltas = self._call(event)
            case _:
                return []
        chunks = [ChatChunkChoice(self._index, delta, logprobs, reason) for delta in deltas]
        if not self._begun:
            self._begun = True
            first = ChoiceDelta(role="assistant", content="")
            chunks.insert(0, ChatChunkChoice(self._index, first))
        return chunks

    def _call(self, call: ToolCall) -> list[ChoiceDelta]:
        number, self._calls_shown = self._calls_shown, self._calls_shown + 1
        named = FunctionCallDelta("", call.name)
        return [
            ChoiceDelta(tool_calls=[ToolCallDelta(number, named, _id_of(call), "function")]),
            ChoiceDelta(tool_calls=[ToolCallDelta(number, FunctionCallDelta(call.arguments))]),
        ]


def _id_of(call: ToolCall) -> str:
    return call.call_id or f"call_{secrets.token_hex(12)}"


def _logprobs(tokens: list[TokenLogprob]) -> Logprobs:
    return Logprobs(
        [
            ChosenToken(
                *_chance(token.token), [TokenChance(*_chance(other)) for other in token.top]
            )
            for token in tokens
        ]
    )


def _chance(token: TopLogprob) -> tuple[str, float, list[int], int]:
    return token.text, token.logprob, list(token.bytes), token.id
