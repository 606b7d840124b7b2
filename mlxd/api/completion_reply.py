"""The shape of a text completion: whole, and in chunks."""

from typing import Annotated

import msgspec

from mlxd.api.decode import doc
from mlxd.api.reply_builder import Collected, Envelope, FinishReason, OpenAIReplyBuilder
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


def completion_reply_builder(
    model: str,
    created: int,
    *,
    prompts: int,
    choices_per_prompt: int,
    logprobs: bool,
    include_usage: bool,
) -> OpenAIReplyBuilder:
    """Return the reply builder for the answers to `prompts`; `created` is in Unix seconds."""
    envelope = Envelope(
        model,
        created,
        id_prefix="cmpl",
        whole="text_completion",
        chunk="text_completion",
        include_usage=include_usage,
    )
    shapes = [
        _CompletionShape(index, logprobs=logprobs) for index in range(prompts * choices_per_prompt)
    ]
    return OpenAIReplyBuilder(envelope, shapes, choices_per_prompt)


class _CompletionShape:
    def __init__(self, index: int, *, logprobs: bool) -> None:
        self._index = index
        self._logprobs = logprobs
        self._shown = 0

    def chunks(self, event: Event) -> list[CompletionChoice]:
        match event:
            case Delta(text=text, logprobs=tokens):
                logprobs = _logprobs([(text, tokens)], self._shown) if tokens else None
                self._shown += len(text)
                return [CompletionChoice(text, self._index, logprobs)]
            case Finished(reason=reason):
                return [CompletionChoice("", self._index, None, reason)]
            case _:
                return []

    def whole(self, collected: Collected) -> CompletionChoice:
        logprobs = _logprobs(collected.logprobs, 0) if self._logprobs else None
        return CompletionChoice(
            "".join(collected.text), self._index, logprobs, collected.finish_reason
        )


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
