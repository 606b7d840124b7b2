"""From the events of an answer to its reply, streamed or whole, in OpenAI's dialects."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, UnsetType

from mlxd import __version__
from mlxd.api.reply import (
    CompletionTokensDetails,
    CompletionUsage,
    PromptTokensDetails,
    Reply,
    warnings_of,
)
from mlxd.messages import (
    ChoiceEvent,
    Delta,
    Event,
    Finished,
    Overlooked,
    Reasoning,
    Started,
    TokenLogprob,
    ToolCall,
    Usage,
)

FinishReason = Literal["stop", "length", "tool_calls", "abort"]

_FINGERPRINT = f"mlxd-{__version__}"
_encode = msgspec.json.Encoder().encode


class ChoiceBuilder(ABC):
    """One choice of an answer: what it holds so far, and how a dialect shows it.

    `id_prefix` begins the reply's id; `object` and `chunk_object` are the dialect's names for a
    whole reply and a chunk of one.
    """

    id_prefix: ClassVar[str]
    object: ClassVar[str]
    chunk_object: ClassVar[str]

    def __init__(self, index: int, *, logprobs: bool) -> None:
        self._index = index
        self._wants_logprobs = logprobs
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ToolCall] = []
        self._logprobs: list[tuple[str, list[TokenLogprob]]] = []
        self._finish_reason: FinishReason | None = None

    def add(self, event: Event) -> None:
        """Add what `event` brings to the whole reply."""
        match event:
            case Delta(text=text, logprobs=logprobs):
                self._text.append(text)
                self._logprobs.append((text, logprobs))
            case Reasoning(text=text):
                self._reasoning.append(text)
            case ToolCall():
                self._calls.append(event)
            case Finished(reason=reason):
                self._finish_reason = reason

    @abstractmethod
    def whole(self) -> msgspec.Struct:
        """Return the choice's part in a whole reply."""

    @abstractmethod
    def chunks(self, event: Event) -> Sequence[msgspec.Struct]:
        """Return the choice's part in each chunk that `event` makes, none or several."""


class OpenAIReplyBuilder:
    """Turns the events of one answer, which may have several choices, into its reply.

    Each prompt has `choices_per_prompt` choices in a row; `created` is in Unix seconds.
    """

    def __init__(
        self,
        dialect: type[ChoiceBuilder],
        model: str,
        created: int,
        *,
        prompts: int = 1,
        choices_per_prompt: int,
        logprobs: bool,
        include_usage: bool,
    ) -> None:
        self.usage: Usage | None = None
        self._overlooked: list[Overlooked] = []
        self._told = False
        self._dialect = dialect
        self._id = f"{dialect.id_prefix}-{secrets.token_hex(12)}"
        self._model = model
        self._created = created
        self._choices_per_prompt = choices_per_prompt
        self._logprobs = logprobs
        self._include_usage = include_usage
        self._choices = [self._choice(index) for index in range(prompts * choices_per_prompt)]
        self._counts: dict[int, Usage] = {}

    def stream(self, events: list[ChoiceEvent]) -> bytes:
        """Return the SSE events that `events` make, `[DONE]` included after the last `Finished`."""
        pieces: list[bytes] = []
        usage = None if self._include_usage else UNSET
        for index, event in events:
            self._note(event)
            pieces += [self._chunk([part], usage) for part in self._choices[index].chunks(event)]
            self._count(index, event)
        if self.usage is not None:
            if self._include_usage:
                pieces.append(self._chunk([], _usage(self.usage)))
            pieces.append(b"data: [DONE]\n\n")
        return b"".join(pieces)

    def collect(self, events: list[ChoiceEvent]) -> None:
        """Add `events` to the reply. A second `Started` begins the choice again."""
        for index, event in events:
            if isinstance(event, Started):
                self._choices[index] = self._choice(index)
                self._counts.pop(index, None)
            self._choices[index].add(event)
            self._note(event)
            self._count(index, event)

    def reply(self) -> bytes:
        """Return the whole reply as JSON, once every choice has finished."""
        choices = [choice.whole() for choice in self._choices]
        usage = _usage(self.usage) if self.usage else None
        return _encode(self._wrap(self._dialect.object, choices, usage))

    def _choice(self, index: int) -> ChoiceBuilder:
        return self._dialect(index, logprobs=self._logprobs)

    def _chunk(self, choices: list[Any], usage: CompletionUsage | UnsetType | None) -> bytes:
        reply = self._wrap(self._dialect.chunk_object, choices, usage)
        return b"data: %b\n\n" % _encode(reply)

    def _wrap(
        self, kind: str, choices: list[Any], usage: CompletionUsage | UnsetType | None
    ) -> Reply[Any]:
        warnings = UNSET if self._told else warnings_of(self._overlooked)
        self._told = True
        fixed = self._id, kind, self._created, self._model, _FINGERPRINT
        return Reply(*fixed, choices, usage, warnings)

    def _note(self, event: Event) -> None:
        """Keep what is not enforced; it is the same for every choice."""
        if isinstance(event, Started) and event.overlooked:
            self._overlooked = event.overlooked

    def _count(self, index: int, event: Event) -> None:
        if not isinstance(event, Finished):
            return
        self._counts[index] = event.usage
        if len(self._counts) < len(self._choices):
            return
        counts = self._counts
        prompts = [counts[i] for i in range(0, len(counts), self._choices_per_prompt)]
        self.usage = Usage(
            prompt_tokens=sum(count.prompt_tokens for count in prompts),
            cached_tokens=sum(count.cached_tokens for count in prompts),
            completion_tokens=sum(count.completion_tokens for count in counts.values()),
            reasoning_tokens=sum(count.reasoning_tokens for count in counts.values()),
        )


def _usage(counts: Usage) -> CompletionUsage:
    return CompletionUsage(
        prompt_tokens=counts.prompt_tokens,
        completion_tokens=counts.completion_tokens,
        total_tokens=counts.prompt_tokens + counts.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(counts.cached_tokens),
        completion_tokens_details=CompletionTokensDetails(counts.reasoning_tokens),
    )
