"""The shape of a chat reply: whole, and in chunks."""

import secrets
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from mlxd import messages
from mlxd.api.decode import doc
from mlxd.api.reply_builder import Collected, Envelope, FinishReason, OpenAIReplyBuilder
from mlxd.messages import Event, Finished, Reasoning, TopLogprob


class TokenChance(msgspec.Struct, frozen=True):
    """A candidate token. `bytes` is its text in UTF-8."""

    token: str
    logprob: float
    bytes: list[int]
    id: int


class ChosenToken(msgspec.Struct, frozen=True):
    """A token of the answer, and the most likely tokens at its position."""

    token: str
    logprob: float
    bytes: list[int]
    id: int
    top_logprobs: list[TokenChance]


class Logprobs(msgspec.Struct, frozen=True):
    """The natural log-probabilities of the tokens of `content`."""

    content: list[ChosenToken]
    refusal: None = None


class FunctionCall(msgspec.Struct, frozen=True):
    """The function to call. `arguments` is a JSON object as a string."""

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


def chat_reply_builder(
    model: str, created: int, *, choices: int, logprobs: bool, include_usage: bool
) -> OpenAIReplyBuilder:
    """Return the reply builder for an answer with `choices`; `created` is in Unix seconds."""
    envelope = Envelope(
        model,
        created,
        id_prefix="chatcmpl",
        whole="chat.completion",
        chunk="chat.completion.chunk",
        include_usage=include_usage,
    )
    shapes = [_ChatShape(index, logprobs=logprobs) for index in range(choices)]
    return OpenAIReplyBuilder(envelope, shapes, choices_per_prompt=choices)


class _ChatShape:
    def __init__(self, index: int, *, logprobs: bool) -> None:
        self._index = index
        self._logprobs = logprobs
        self._begun = False
        self._calls = 0

    def chunks(self, event: Event) -> list[ChatChunkChoice]:
        match event:
            case messages.Delta(text=text, logprobs=tokens):
                chances = _logprobs(tokens) if tokens else None
                chunks = [ChatChunkChoice(self._index, ChoiceDelta(content=text), chances)]
            case Finished(reason=reason):
                chunks = [ChatChunkChoice(self._index, ChoiceDelta(), None, reason)]
            case Reasoning(text=text):
                delta = ChoiceDelta(reasoning_content=text, reasoning=text)
                chunks = [ChatChunkChoice(self._index, delta)]
            case messages.ToolCall():
                chunks = [ChatChunkChoice(self._index, delta) for delta in self._call(event)]
            case _:
                return []
        if not self._begun:
            self._begun = True
            chunks.insert(
                0, ChatChunkChoice(self._index, ChoiceDelta(role="assistant", content=""))
            )
        return chunks

    def whole(self, collected: Collected) -> ChatChoice:
        reasoning = "".join(collected.reasoning) or UNSET
        message = AnswerMessage(
            role="assistant",
            content="".join(collected.text) or (None if collected.calls else ""),
            reasoning_content=reasoning,
            reasoning=reasoning,
            tool_calls=[
                MessageToolCall(_id_of(call), "function", FunctionCall(call.name, call.arguments))
                for call in collected.calls
            ]
            or UNSET,
        )
        logprobs = None
        if self._logprobs:
            logprobs = _logprobs([token for _, tokens in collected.logprobs for token in tokens])
        return ChatChoice(self._index, message, logprobs, collected.finish_reason)

    def _call(self, call: messages.ToolCall) -> list[ChoiceDelta]:
        number, self._calls = self._calls, self._calls + 1
        named = FunctionCallDelta("", call.name)
        return [
            ChoiceDelta(tool_calls=[ToolCallDelta(number, named, _id_of(call), "function")]),
            ChoiceDelta(tool_calls=[ToolCallDelta(number, FunctionCallDelta(call.arguments))]),
        ]


def _id_of(call: messages.ToolCall) -> str:
    return call.call_id or f"call_{secrets.token_hex(12)}"


def _logprobs(tokens: list[messages.TokenLogprob]) -> Logprobs:
    return Logprobs(
        [
            ChosenToken(
                token.token.text,
                token.token.logprob,
                list(token.token.bytes),
                token.token.id,
                [_chance(other) for other in token.top],
            )
            for token in tokens
        ]
    )


def _chance(token: TopLogprob) -> TokenChance:
    return TokenChance(token.text, token.logprob, list(token.bytes), token.id)
