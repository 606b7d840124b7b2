"""The shape of a text completion: whole, and in chunks."""

from typing import Annotated

import msgspec

from mlxd.api.decode import doc
from mlxd.api.reply_builder import ChoiceBuilder, FinishReason
from mlxd.messages import Delta, Echo, Event, Finished, TokenLogprob


class CompletionLogprobs(msgspec.Struct, frozen=True):
    """The natural log-probabilities of the tokens, in lists with one element for each token."""

    tokens: list[str]
    token_logprobs: Annotated[
        list[float | None], doc("Null for the first token of a prompt, which `echo` returns.")
    ]
    top_logprobs: Annotated[
        list[dict[str, float] | None] | None,
        doc("The most likely tokens at each position. Null if none were requested."),
    ]
    text_offset: Annotated[list[int], doc("Where each token starts, in characters of the text.")]


class CompletionChoice(msgspec.Struct, frozen=True):
    """One answer, in a chunk as in a whole reply."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None


class CompletionChoiceBuilder(ChoiceBuilder):
    """One choice of a text completion."""

    id_prefix = "cmpl"
    object = chunk_object = "text_completion"

    def __init__(self, index: int, *, logprobs: bool) -> None:
        super().__init__(index, logprobs=logprobs)
        self._scored = _Scored()

    def add(self, event: Event) -> None:
        """Add what `event` brings to the whole reply."""
        if isinstance(event, Echo | Delta):
            self._text.append(event.text)
            self._scored.add(event)
        else:
            super().add(event)

    def whole(self) -> CompletionChoice:
        """Return the choice's part in a whole reply."""
        logprobs = self._scored.take() if self._wants_logprobs else None
        return CompletionChoice("".join(self._text), self._index, logprobs, self._finish_reason)

    def chunks(self, event: Event) -> list[CompletionChoice]:
        """Return the choice's part in each chunk that `event` makes."""
        match event:
            case Echo(text=text, logprobs=tokens) | Delta(text=text, logprobs=tokens):
                self._scored.add(event)
                logprobs = self._scored.take() if tokens else None
                return [CompletionChoice(text, self._index, logprobs)]
            case Finished(reason=reason):
                return [CompletionChoice("", self._index, None, reason)]
            case _:
                return []


class _Scored:
    """The log-probabilities of a text that grows."""

    def __init__(self) -> None:
        self._length = 0
        self._begun = False
        self._clear()

    def _clear(self) -> None:
        self._tokens: list[str] = []
        self._values: list[float | None] = []
        self._top: list[dict[str, float] | None] = []
        self._offsets: list[int] = []

    def add(self, event: Echo | Delta) -> None:
        """Add a piece of text with its tokens."""
        end = self._length + len(event.text)
        begin = self._length
        for place, entry in enumerate(event.logprobs):
            # The first token of the prompt has nothing before it.
            first = isinstance(event, Echo) and not self._begun
            self._begun = True
            self._tokens.append(entry.token.text)
            self._values.append(None if first else entry.token.logprob)
            self._top.append(None if first else _by_text(entry))
            if isinstance(event, Echo):
                self._offsets.append(self._length + event.offsets[place])
            else:
                self._offsets.append(min(begin, end))
                begin += len(entry.token.text)
        self._length = end

    def take(self) -> CompletionLogprobs:
        """Return what was added since the last time."""
        taken = CompletionLogprobs(
            self._tokens, self._values, self._top if any(self._top) else None, self._offsets
        )
        self._clear()
        return taken


def _by_text(token: TokenLogprob) -> dict[str, float]:
    chances: dict[str, float] = {}
    for other in token.top:
        chances.setdefault(other.text, other.logprob)  # different tokens may have the same text
    return chances
