"""A limit for how long a model thinks: then its thought is closed for it, and it answers.

The limit works on the logits, so that the steps of a batch need not wait for tokens.
"""

from typing import Any

import mlx.core as mx

Logits = Any
"""An mlx array; mlx's own stubs leave its item assignment untyped."""


class ThoughtLimit:
    """A logits processor that ends a thought after a number of tokens."""

    def __init__(
        self, tokenizer: Any, prompt_tokens: int, budget: int, *, in_reasoning: bool
    ) -> None:
        """Take mlx_lm's TokenizerWrapper, the length of the prompt, and the most tokens to think.

        `in_reasoning` says that the prompt ends inside a thought, which the answer continues.
        """
        self._begin = list(tokenizer.think_start_tokens or ())
        self._end = list(tokenizer.think_end_tokens or ())
        self._in_reasoning = in_reasoning
        self._prompt_tokens = prompt_tokens
        self._budget = budget

    def __call__(self, tokens: mx.array, logits: Logits) -> Logits:
        """Return the logits; if the thought has to end, all but those of its end are shut out.

        Args:
            tokens: those of the prompt and of the answer so far.
            logits: (1, vocabulary).
        """
        answer = tokens[self._prompt_tokens :]
        if answer.size < self._budget or not self._end:
            return logits
        begun = mx.array(True) if self._in_reasoning else _occurs(self._begin, answer)
        is_open = mx.logical_and(begun, mx.logical_not(_occurs(self._end, answer)))
        ids = mx.arange(logits.shape[-1])
        closing = mx.where(ids == self._next_of_end(answer), logits, mx.finfo(logits.dtype).min)
        return mx.where(is_open, closing, logits)

    def _next_of_end(self, answer: mx.array) -> mx.array:
        """Return the token of the end that follows what the answer ends with."""
        following = mx.array(self._end[0])
        for length in range(1, min(len(self._end), answer.size + 1)):
            matches = mx.all(answer[-length:] == mx.array(self._end[:length]))
            following = mx.where(matches, self._end[length], following)
        return following


def _occurs(wanted: list[int], tokens: mx.array) -> mx.array:
    """Return whether `wanted`, which is not empty, occurs somewhere in the tokens."""
    places = tokens.size - len(wanted) + 1
    if places <= 0 or not wanted:
        return mx.array(False)
    found = mx.array(True)
    for offset, token in enumerate(wanted):
        found = mx.logical_and(found, tokens[offset : offset + places] == token)
    return mx.any(found)
