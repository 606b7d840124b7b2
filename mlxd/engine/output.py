"""Tokens to text: detokenised piece by piece, cut at the first stop text."""

from typing import Any

from mlx_lm.generate import TextStateMachine


class TextOutput:
    """The text of one sequence.

    Text that might be the beginning of a stop text is held back until it is known not to be; a stop
    text and what follows it is never given out.
    """

    def __init__(self, tokenizer: Any, stop: list[str], after: int | None = None) -> None:
        """Begin a text with `stop` texts; with `after` it goes on from that token.

        A text on its own loses the space that its first token may begin with.
        """
        self._detokenizer = tokenizer.detokenizer
        if after is not None:
            self._detokenizer.add_token(after)
            _ = self._detokenizer.last_segment  # read, so that it is not given out
        self._state = None
        if stop:
            # A transition to None ends the text.
            machine = TextStateMachine({"normal": [(text, None) for text in stop]})
            self._state = machine.make_state("normal")
        self.stopped = False

    def add(self, token: int) -> str:
        """Take the next token; give the text that is certain now, perhaps none."""
        self._detokenizer.add_token(token)
        return self._cut(self._detokenizer.last_segment)

    def finish(self) -> str:
        """Give what was still held back."""
        self._detokenizer.finalize()
        text = self._cut(self._detokenizer.last_segment)
        if self._state is None or self.stopped:
            return text
        self._state, rest, _ = TextStateMachine.flush(self._state)
        return text + str(rest)

    def _cut(self, text: str) -> str:
        if self._state is None or not text:
            return text
        self._state, certain, state = TextStateMachine.step(self._state, text)
        self.stopped = state is None
        return str(certain)
