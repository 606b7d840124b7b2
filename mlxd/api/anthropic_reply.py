"""From the events of an answer to Anthropic's reply, streamed or whole.

The order of a stream's events is Anthropic's:
https://platform.claude.com/docs/en/build-with-claude/streaming
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from mlxd import messages
from mlxd.api.anthropic_content import sign
from mlxd.api.anthropic_types import (
    AnswerBlock,
    AnthropicReply,
    BlockDelta,
    BlockPiece,
    BlockStart,
    BlockStop,
    InputDelta,
    MessageEnd,
    MessageStart,
    MessageStop,
    MessageUsage,
    OutputDetails,
    SignatureDelta,
    StopInfo,
    StopReason,
    StreamedEvent,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    TokenCount,
    ToolUseBlock,
)
from mlxd.api.reply import warnings_of
from mlxd.messages import ChoiceEvent, Delta, Event, Finished, Reasoning, Started, ToolCall

_encode = msgspec.json.Encoder().encode


class TokenCountBuilder:
    """Waits for the number of the prompt's tokens."""

    def __init__(self) -> None:
        self.usage: messages.Usage | None = None

    def stream(self, events: list[ChoiceEvent]) -> bytes:
        """Return nothing: the number comes whole."""
        self.collect(events)
        return b""

    def collect(self, events: list[ChoiceEvent]) -> None:
        """Take the usage from the last event."""
        for _, event in events:
            if isinstance(event, Finished):
                self.usage = event.usage

    def reply(self) -> bytes:
        """Return the reply as JSON."""
        return _encode(TokenCount(self.usage.prompt_tokens if self.usage else 0))


@dataclass
class _Pieces:
    """The text of a block, in pieces."""

    kind: Literal["text", "thinking"]
    texts: list[str] = field(default_factory=list)


class MessageBuilder:
    """Turns the events of one answer into its reply.

    With `hides_thoughts` their text is empty; the signature carries it. If the request has
    `marks_cache`, the tokens from and for the prompt cache count apart, as in Anthropic's API.
    """

    def __init__(
        self, model: str, max_tokens: int, *, hides_thoughts: bool, marks_cache: bool
    ) -> None:
        self.usage: messages.Usage | None = None
        self._id = f"msg_{secrets.token_hex(12)}"
        self._model = model
        self._max_tokens = max_tokens
        self._hides_thoughts = hides_thoughts
        self._marks_cache = marks_cache
        self._restart()

    def _restart(self) -> None:
        self._started: Started | None = None
        self._open: _Pieces | None = None
        self._blocks: list[AnswerBlock] = []
        self._finished: Finished | None = None

    def stream(self, events: list[ChoiceEvent]) -> bytes:
        """Return the SSE events that `events` make, the end included after `Finished`."""
        return b"".join(
            b"event: %b\ndata: %b\n\n" % (_name(made), _encode(made))
            for _, event in events
            for made in self._streamed(event)
        )

    def collect(self, events: list[ChoiceEvent]) -> None:
        """Add `events` to the reply. A second `Started` begins it again."""
        for _, event in events:
            if isinstance(event, Started):
                self._restart()
            self._add(event)

    def reply(self) -> bytes:
        """Return the whole reply as JSON, once the answer has finished."""
        return _encode(self._message())

    def _add(self, event: Event) -> None:
        match event:
            case Started():
                self._started = event
            case Delta(text=text) if text:
                self._write("text", text)
            case Reasoning(text=text):
                self._write("thinking", text)
            case ToolCall():
                self._close()
                self._blocks.append(_tool_use(event))
            case Finished(usage=usage):
                self._close()
                self._finished, self.usage = event, usage

    def _write(self, kind: Literal["text", "thinking"], text: str) -> None:
        if self._open is None or self._open.kind != kind:
            self._close()
            self._open = _Pieces(kind)
        self._open.texts.append(text)

    def _close(self) -> None:
        if self._open is None:
            return
        text, kind = "".join(self._open.texts), self._open.kind
        self._open = None
        if kind == "text":
            self._blocks.append(TextBlock(text))
        else:
            shown = "" if self._hides_thoughts else text
            self._blocks.append(ThinkingBlock(shown, self._signature(text)))

    def _signature(self, thoughts: str) -> str:
        return sign(thoughts if self._hides_thoughts else "")

    def _streamed(self, event: Event) -> Iterator[StreamedEvent]:
        """Yield what an event adds to the stream."""
        if isinstance(event, Started):
            if self._started is None:
                self._add(event)
                yield MessageStart(self._message())
            return
        was_open, closed = self._open, len(self._blocks)
        self._add(event)
        if was_open is not None and self._open is not was_open:
            if was_open.kind == "thinking":
                signature = self._signature("".join(was_open.texts))
                yield BlockPiece(closed, SignatureDelta(signature))
            yield BlockStop(closed)
        match event:
            case Delta(text=text) if text:
                yield from self._piece(was_open, TextBlock(""), TextDelta(text))
            case Reasoning(text=text):
                yield from self._piece(was_open, ThinkingBlock("", ""), ThinkingDelta(text))
            case ToolCall():
                yield from self._call(len(self._blocks) - 1, event)
            case Finished():
                yield from self._end()

    def _piece(
        self, was_open: _Pieces | None, empty: AnswerBlock, piece: BlockDelta
    ) -> Iterator[StreamedEvent]:
        index = len(self._blocks)
        if self._open is not was_open:
            yield BlockStart(index, empty)
        if not (self._hides_thoughts and isinstance(empty, ThinkingBlock)):
            yield BlockPiece(index, piece)

    def _call(self, index: int, call: ToolCall) -> Iterator[StreamedEvent]:
        block = self._blocks[index]
        empty = msgspec.structs.replace(block, input={})
        yield BlockStart(index, empty)
        yield BlockPiece(index, InputDelta(call.arguments))
        yield BlockStop(index)

    def _end(self) -> Iterator[StreamedEvent]:
        message = self._message()
        yield MessageEnd(StopInfo(message.stop_reason, message.stop_sequence), message.usage)
        yield MessageStop()

    def _message(self) -> AnthropicReply:
        return AnthropicReply(
            id=self._id,
            model=self._model,
            content=self._blocks,
            usage=self._usage(),
            stop_reason=self._stop_reason(),
            stop_sequence=self._finished.stop_text if self._finished else None,
            warnings=warnings_of(self._started.overlooked if self._started else []),
        )

    def _usage(self) -> MessageUsage:
        counted = self.usage or self._started
        if counted is None:
            return MessageUsage(0, 0, 0)
        prompt, cached, created = counted.prompt_tokens, counted.cached_tokens, 0
        if self._marks_cache:
            # All that is read is kept, but the last token, from which the answer starts.
            created = max(0, prompt - cached - 1)
            prompt -= cached + created
        if (usage := self.usage) is None:
            return MessageUsage(prompt, cached, 0, cache_creation_input_tokens=created)
        details = OutputDetails(usage.reasoning_tokens)
        return MessageUsage(prompt, cached, usage.completion_tokens, details, created)

    def _stop_reason(self) -> StopReason | None:
        match self._finished:
            case None:
                return None
            case Finished(reason="tool_calls"):
                return "tool_use"
            case Finished(reason="length", usage=usage):
                full = usage.completion_tokens < self._max_tokens
                return "model_context_window_exceeded" if full else "max_tokens"
            case Finished(stop_text=str()):
                return "stop_sequence"
        return "end_turn"


def _tool_use(call: ToolCall) -> ToolUseBlock:
    return ToolUseBlock(
        call.call_id or f"toolu_{secrets.token_hex(12)}",
        call.name,
        msgspec.Raw(call.arguments.encode()),
    )


def _name(event: StreamedEvent) -> bytes:
    return str(event.__struct_config__.tag).encode()
