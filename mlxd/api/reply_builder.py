"""From the events of an answer to its reply, streamed or whole, in OpenAI's dialects."""

import secrets
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from mlxd import __version__, messages
from mlxd.api.reply import (
    CompletionTokensDetails,
    CompletionUsage,
    PromptTokensDetails,
    Reply,
)
from mlxd.messages import (
    ChoiceEvent,
    Delta,
    Event,
    Finished,
    Reasoning,
    Started,
    TokenLogprob,
    ToolCall,
)

FinishReason = Literal["stop", "length", "tool_calls", "abort"]

_FINGERPRINT = f"mlxd-{__version__}"
_DONE = b"data: [DONE]\n\n"
_encode = msgspec.json.Encoder().encode


class Collected:
    """What one choice holds so far."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[ToolCall] = []
        self.logprobs: list[tuple[str, list[TokenLogprob]]] = []
        self.finish_reason: FinishReason | None = None

    def add(self, event: Event) -> None:
        """Add what `event` brings."""
        match event:
            case Delta(text=text, logprobs=logprobs):
                self.text.append(text)
                self.logprobs.append((text, logprobs))
            case Reasoning(text=text):
                self.reasoning.append(text)
            case ToolCall():
                self.calls.append(event)
            case Finished(reason=reason):
                self.finish_reason = reason


class ChoiceShape(Protocol):
    """How a dialect shows one choice. It may remember what it has shown."""

    def chunks(self, event: Event) -> Sequence[msgspec.Struct]:
        """Return the choice's part in each chunk that `event` makes, none or several."""

    def whole(self, collected: Collected) -> msgspec.Struct:
        """Return the choice's part in a whole reply."""


class Envelope:
    """Wraps the choices of one answer. `created` is in Unix seconds.

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
        """Return the reply to a request that does not stream, as JSON."""
        return _encode(self._wrap(self._whole, choices, _usage(counts) if counts else None))

    def chunk(self, choice: msgspec.Struct) -> bytes:
        """Return one chunk of a stream, as SSE."""
        return self._event([choice], self._usage_in_chunks)

    def end(self, counts: messages.Usage) -> bytes:
        """Return the end of a stream: the token counts if the request wants them, and `[DONE]`."""
        return self._event([], _usage(counts)) + _DONE if self._include_usage else _DONE

    def _event(self, choices: list[Any], usage: CompletionUsage | UnsetType | None) -> bytes:
        return b"data: %b\n\n" % _encode(self._wrap(self._chunk, choices, usage))

    def _wrap(
        self, kind: str, choices: list[Any], usage: CompletionUsage | UnsetType | None
    ) -> Reply[Any]:
        return Reply(self._id, kind, self._created, self._model, _FINGERPRINT, choices, usage)


class OpenAIReplyBuilder:
    """Turns the events of one answer, which may have several choices, into its reply.

    `shapes` has one for each choice; each prompt has `choices_per_prompt` of them in a row.
    """

    def __init__(
        self, envelope: Envelope, shapes: Sequence[ChoiceShape], choices_per_prompt: int
    ) -> None:
        self.usage: messages.Usage | None = None
        self._envelope = envelope
        self._shapes = shapes
        self._choices_per_prompt = choices_per_prompt
        self._collected = [Collected() for _ in shapes]
        self._counts: dict[int, messages.Usage] = {}

    def stream(self, events: list[ChoiceEvent]) -> bytes:
        """Return the SSE events that `events` make, `[DONE]` included after the last `Finished`."""
        pieces: list[bytes] = []
        for index, event in events:
            pieces += map(self._envelope.chunk, self._shapes[index].chunks(event))
            if isinstance(event, Finished):
                self._count(index, event)
        if self.usage is not None:
            pieces.append(self._envelope.end(self.usage))
        return b"".join(pieces)

    def collect(self, events: list[ChoiceEvent]) -> None:
        """Add `events` to the reply. A second `Started` begins a choice anew."""
        for index, event in events:
            if isinstance(event, Started):
                self._collected[index] = Collected()
                self._counts.pop(index, None)
            else:
                self._collected[index].add(event)
            if isinstance(event, Finished):
                self._count(index, event)

    def reply(self) -> bytes:
        """Return the whole reply as JSON, once every choice has finished."""
        parts = [
            shape.whole(collected)
            for shape, collected in zip(self._shapes, self._collected, strict=True)
        ]
        return self._envelope.whole(parts, self.usage)

    def _count(self, index: int, event: Finished) -> None:
        self._counts[index] = event.usage
        if len(self._counts) < len(self._shapes):
            return
        counts = self._counts
        prompts = [counts[i] for i in range(0, len(counts), self._choices_per_prompt)]
        self.usage = messages.Usage(
            prompt_tokens=sum(count.prompt_tokens for count in prompts),
            cached_tokens=sum(count.cached_tokens for count in prompts),
            completion_tokens=sum(count.completion_tokens for count in counts.values()),
            reasoning_tokens=sum(count.reasoning_tokens for count in counts.values()),
        )


def _usage(counts: messages.Usage) -> CompletionUsage:
    return CompletionUsage(
        prompt_tokens=counts.prompt_tokens,
        completion_tokens=counts.completion_tokens,
        total_tokens=counts.prompt_tokens + counts.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(counts.cached_tokens),
        completion_tokens_details=CompletionTokensDetails(counts.reasoning_tokens),
    )
