"""From the events of an answer to its reply, for every dialect, streamed or whole."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from mlxd import messages
from mlxd.api.reply import Envelope
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


class Collected:
    """What a choice holds so far."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[ToolCall] = []
        self.logprobs: list[tuple[str, list[TokenLogprob]]] = []
        self.finish_reason: FinishReason | None = None

    def add(self, event: Event) -> None:
        """Keep what `event` adds."""
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
    """How a dialect shows one choice; it may remember what it has shown."""

    def chunks(self, event: Event) -> Sequence[msgspec.Struct]:
        """Give the choice's part in the chunks that `event` makes, none or several."""

    def whole(self, collected: Collected) -> msgspec.Struct:
        """Give the choice's part in a whole reply."""


class OpenAIReplyBuilder:
    """Turns the events of one answer, which may have several choices, into its reply.

    `shapes` has one for each choice, and each prompt has `choices_per_prompt` of them in a row.
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
        """Give the SSE events that `events` make, `[DONE]` included after the last `Finished`."""
        pieces: list[bytes] = []
        for index, event in events:
            for choice in self._shapes[index].chunks(event):
                pieces.append(self._envelope.chunk(choice))  # noqa: PERF401  two loops in one
            if isinstance(event, Finished):
                self._count(index, event)
        if self.usage is not None:
            pieces.append(self._envelope.end(self.usage))
        return b"".join(pieces)

    def collect(self, events: list[ChoiceEvent]) -> None:
        """Keep what `events` add to the reply; a second `Started` begins a choice anew."""
        for index, event in events:
            if isinstance(event, Started):
                self._collected[index] = Collected()
                self._counts.pop(index, None)
            else:
                self._collected[index].add(event)
            if isinstance(event, Finished):
                self._count(index, event)

    def reply(self) -> bytes:
        """Give the whole reply as JSON, once every choice has finished."""
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
