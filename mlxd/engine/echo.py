"""The prompt as a part of the answer, with the log-probabilities of its tokens."""

from codecs import getincrementaldecoder
from collections.abc import Callable, Sequence

from mlxd.engine.logprobs import Scored
from mlxd.messages import Echo, TokenLogprob, TopLogprob

ScoredToken = tuple[Scored, list[Scored]]
"""A token with its log-probability, and the likeliest ones in its place."""


class PromptEcho:
    """What is still to be told of one prompt."""

    def __init__(
        self,
        request_id: int,
        tokens: Sequence[int],
        text: str | None,
        token_bytes: Callable[[int], bytes],
    ) -> None:
        """Take the tokens of a prompt, and its text if it was a text.

        `token_bytes` returns the bytes of a token.
        """
        self._id = request_id
        self._tokens = tokens
        self._text = text
        self._token_bytes = token_bytes
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._position = 0  # in the text
        self._told = 0

    @property
    def done(self) -> bool:
        """Whether everything is told."""
        return self._told == len(self._tokens)

    def part(self, first: int, scored: Sequence[ScoredToken]) -> list[Echo]:
        """Return what the tokens from the number `first` add, of those that are not told yet."""
        entries = [self._entry(*each) for each in scored[max(0, self._told - first) :]]
        if self._told == 0:
            entries = [self._entry((self._tokens[0], 0.0), []), *entries]
        pieces: list[str] = []
        offsets: list[int] = []
        length = 0
        for entry in entries:
            piece = self._piece(entry.token.bytes)
            offsets.append(length)
            length += len(piece)
            pieces.append(piece)
        self._told += len(entries)
        if self.done:
            pieces.append(self._remainder())
        return [Echo(self._id, "".join(pieces), entries, offsets)] if entries else []

    def rest(self, *, scored: bool) -> list[Echo]:
        """Return what is not told yet, without log-probabilities; of one token, there are none."""
        if self.done:
            return []
        if scored and len(self._tokens) == 1:
            return self.part(1, [])
        text = self._text
        if text is None:
            pieces = [self._token_bytes(token) for token in self._tokens]
            text = b"".join(pieces).decode(errors="replace")
        self._told = len(self._tokens)
        return [Echo(self._id, text)]

    def _piece(self, raw: bytes) -> str:
        """Return the characters of the text that a token ends; "" for one that is not in it."""
        piece: str = self._decoder.decode(raw)
        if self._text is not None:
            fitting = (each for each in (piece, piece.lstrip(" ")) if self._follows(each))
            piece = next(fitting, "")
            self._position += len(piece)
        return piece

    def _follows(self, piece: str) -> bool:
        return self._text is not None and self._text.startswith(piece, self._position)

    def _remainder(self) -> str:
        return (
            self._decoder.decode(b"", True) if self._text is None else self._text[self._position :]
        )

    def _entry(self, chosen: Scored, top: list[Scored]) -> TokenLogprob:
        return TokenLogprob(self._describe(chosen), [self._describe(other) for other in top])

    def _describe(self, scored: Scored) -> TopLogprob:
        return describe(scored, self._token_bytes)


def describe(scored: Scored, token_bytes: Callable[[int], bytes]) -> TopLogprob:
    """Return a token with its log-probability for a message."""
    token, logprob = scored
    raw = token_bytes(token)
    return TopLogprob(token, raw.decode(errors="replace"), raw, logprob)
