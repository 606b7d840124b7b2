"""The chat dialect: POST /v1/chat/completions."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mlxd import messages
from mlxd.api import unsupported
from mlxd.api.decode import decode
from mlxd.api.dialect import CommonFields
from mlxd.api.reply import Envelope
from mlxd.config import Generation
from mlxd.errors import InvalidRequest
from mlxd.messages import ChatPrompt, Event, Finished, GenerateRequest

_WHOLE = "chat.completion"
_CHUNK = "chat.completion.chunk"


class Part(msgspec.Struct, frozen=True):
    """A piece of a message's content; only those of type `text` are for a text model."""

    type: str
    text: str | None = None


class FunctionCall(msgspec.Struct, frozen=True):
    """A function that the assistant called; `arguments` is a JSON text."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call the assistant made earlier in the conversation."""

    function: FunctionCall
    id: str | None = None
    type: str | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of the conversation; what is neither role nor content is for the template."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None


class ChatBody(CommonFields, frozen=True, kw_only=True):
    """The body of a chat request."""

    messages: Annotated[list[Message], Meta(min_length=1)]

    def to_request(self, defaults: Generation) -> GenerateRequest:
        """Give the request for the engine; `defaults` stand in for what was left out."""
        return self.continuing(ChatPrompt([_for_template(m) for m in self.messages]), defaults)

    def fold(self, model: str, created: int) -> "ChatFold":
        """Give the fold of the answer: `model` is the one that answers, `created` unix time."""
        return ChatFold(model, created, include_usage=self.include_usage)


def decode_body(data: bytes) -> ChatBody:
    """Decode and check a chat request.

    Raises:
        InvalidRequest: a malformed body, or a bad value.
        UnsupportedParameter: a field we know and cannot honour.
    """
    body = decode(data, ChatBody)
    unsupported.refuse_unsupported(data, unsupported.CHAT)
    for index, message in enumerate(body.messages):
        _check_content(message, f"messages[{index}].content")
    return body


def _check_content(message: Message, path: str) -> None:
    if message.content is None and message.role != "assistant":
        raise InvalidRequest(f"`{path}`: missing", param=path)
    if not isinstance(message.content, list):
        return
    for index, part in enumerate(message.content):
        param = f"{path}[{index}]"
        if part.type != "text":
            raise InvalidRequest(
                f"`{param}.type`: the model takes only text", param=f"{param}.type"
            )
        if part.text is None:
            raise InvalidRequest(f"`{param}.text`: missing", param=f"{param}.text")


def _for_template(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(message)
    if message.role == "developer":
        fields["role"] = "system"
    if isinstance(message.content, list):
        fields["content"] = "".join(part.text or "" for part in message.content)
    else:
        fields["content"] = message.content or ""
    return fields


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """What one chunk adds to the answer."""

    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChunkChoice(msgspec.Struct, frozen=True):
    """The only choice of a chunk."""

    index: int
    delta: Delta
    logprobs: None = None
    finish_reason: str | None = None


class AnswerMessage(msgspec.Struct, frozen=True):
    """The whole answer."""

    role: str
    content: str
    refusal: None = None


class Choice(msgspec.Struct, frozen=True):
    """The only choice of a whole reply."""

    index: int
    message: AnswerMessage
    logprobs: None
    finish_reason: str | None


class ChatFold:
    """Turns the events of one answer into a chat reply, in chunks or whole."""

    def __init__(self, model: str, created: int, *, include_usage: bool) -> None:
        self.usage: messages.Usage | None = None
        self._envelope = Envelope("chatcmpl", model, created, include_usage=include_usage)
        self._begun = False
        self._texts: list[str] = []
        self._finish_reason: str | None = None

    def stream(self, events: list[Event]) -> bytes:
        """Give the SSE events that `events` make, `[DONE]` included after `Finished`."""
        pieces = [self._envelope.chunk(_CHUNK, choice) for choice in self._choices(events)]
        if self.usage is not None:
            pieces.append(self._envelope.end(_CHUNK, self.usage))
        return b"".join(pieces)

    def collect(self, events: list[Event]) -> None:
        """Keep what `events` add to the reply."""
        for choice in self._choices(events):
            self._texts.append(choice.delta.content or "")
            self._finish_reason = choice.finish_reason

    def reply(self) -> bytes:
        """Give the whole reply as JSON, once `Finished` has been collected."""
        answer = AnswerMessage("assistant", "".join(self._texts))
        choice = Choice(0, answer, None, self._finish_reason)
        return self._envelope.whole(_WHOLE, choice, self.usage)

    def _choices(self, events: list[Event]) -> list[ChunkChoice]:
        choices: list[ChunkChoice] = []
        for event in events:
            if isinstance(event, messages.Delta):
                self._begin(choices)
                choices.append(ChunkChoice(0, Delta(content=event.text)))
            elif isinstance(event, Finished):
                self._begin(choices)
                choices.append(ChunkChoice(0, Delta(), finish_reason=event.reason))
                self.usage = event.usage
        return choices

    def _begin(self, choices: list[ChunkChoice]) -> None:
        if not self._begun:
            self._begun = True
            choices.append(ChunkChoice(0, Delta(role="assistant", content="")))
