"""The shape of a text completion: whole, and in chunks."""

from typing import Annotated

import msgspec

from mlxd.api.decode import doc
from mlxd.api.reply_builder import ChoiceBuilder, FinishReason
from mlxd.messages import Delta, Event, Finished, TokenLogprob


class CompletionLogprobs(msgspec.Struct, frozen=True):
    """The natural log-probabilities of the tokens, in lists with one element for each token."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: Annotated[
        list[dict[str, float]] | None,
        doc("The most likely tokens at each position. Null if none were requested."),
    ]
    text_offset: Annotated[
        list[int], doc("Where each token starts, in characters of the completion.")
    ]


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
        self._shown = 0

    def whole(self) -> CompletionChoice:
        """Return the choice's part in a whole reply."""
        logprobs = _logprobs(self._logprobs, 0) if self._wants_logprobs else None
        return CompletionChoice("".join(self._text), self._index, logprobs, self._finish_reason)

    def chunks(self, event: Event) -> list[CompletionChoice]:
        """Return the choice's part in each chunk that `event` makes."""
        match event:
            case Delta(text=text, logprobs=tokens):
                logprobs = _logprobs([(text, tokens)], self._shown) if tokens else None
                self._shown += len(text)
                return [CompletionChoice(text, self._index, logprobs)]
            case Finished(reason=reason):
                return [CompletionChoice("", self._index, None, reason)]
            case _:
                return []


def _logprobs(pieces: list[tuple[str, list[TokenLogprob]]], shown: int) -> CompletionLogprobs:
    """Return the log-probabilities of `pieces` of text that follow `shown` characters."""
    chosen: list[TokenLogprob] = []
    offsets: list[int] = []
    for text, tokens in pieces:
        begin, shown = shown, shown + len(text)
        for token in tokens:
            offsets.append(min(begin, shown))
            begin += len(token.token.text)
        chosen += tokens
    return CompletionLogprobs(
        tokens=[token.token.text for token in chosen],
        token_logprobs=[token.token.logprob for token in chosen],
        top_logprobs=[_by_text(token) for token in chosen]
        if any(token.top for token in chosen)
        else None,
        text_offset=offsets,
    )


def _by_text(token: TokenLogprob) -> dict[str, float]:
    chances: dict[str, float] = {}
    for other in token.top:
        chances.setdefault(other.text, other.logprob)  # different tokens may have the same text
    return chances
