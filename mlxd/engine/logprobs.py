"""The log-probabilities of the chosen tokens, for the rows that ask for them."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial

import mlx.core as mx

from mlxd.engine.sampling import Row

LEAST = -9999.0
"""Stands for the logarithm of 0, which JSON cannot express; the number that OpenAI uses."""

Scored = tuple[int, float]
"""A token id and its natural log-probability."""


class StepLogprobs:
    """The log-probabilities of one step, computed with it and read when its tokens are known."""

    def __init__(self, logits: mx.array, tokens: mx.array, top: int) -> None:
        """Take logits (rows, vocabulary), chosen tokens (rows,), how many others to report."""
        logits = logits.astype(mx.float32)
        logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        top = min(top, logprobs.shape[-1] - 1)
        likeliest = mx.argpartition(-logprobs, kth=max(top - 1, 0), axis=-1)[:, :top]
        ids = mx.concatenate([tokens[:, None].astype(likeliest.dtype), likeliest], axis=-1)
        values = mx.take_along_axis(logprobs, ids, axis=-1)
        # Infinite logits, which a bias or a penalty can cause, have no probability.
        self.arrays = [ids, mx.maximum(mx.where(mx.isnan(values), LEAST, values), LEAST)]

    @cached_property
    def _rows(self) -> list[list[Scored]]:
        ids: list[list[int]] = self.arrays[0].tolist()  # type: ignore[assignment]
        values: list[list[float]] = self.arrays[1].tolist()  # type: ignore[assignment]
        return [list(zip(*row, strict=True)) for row in zip(ids, values, strict=True)]

    def read(self, index: int, top: int) -> tuple[Scored, list[Scored]]:
        """Return the chosen token of a row, and the `top` likeliest ones, likeliest first."""
        chosen, *others = self._rows[index]
        return chosen, sorted(others, key=lambda scored: -scored[1])[:top]


RowLogprobs = Callable[[], tuple[Scored, list[Scored]]]
"""Returns what `StepLogprobs.read` does for a row, which stays with its sequence."""


def row_logprobs(
    rows: Sequence[Row], logits: mx.array, tokens: mx.array
) -> tuple[list[RowLogprobs | None], list[mx.array]]:
    """Return the log-probabilities each row asks for, and the arrays to evaluate with the step."""
    asking = [index for index, row in enumerate(rows) if row.logprobs is not None]
    found: list[RowLogprobs | None] = [None] * len(rows)
    if not asking:
        return found, []
    if len(asking) < len(rows):
        logits, tokens = logits[mx.array(asking)], tokens[mx.array(asking)]
    step = StepLogprobs(logits, tokens, max(rows[index].logprobs or 0 for index in asking))
    for place, index in enumerate(asking):
        found[index] = partial(step.read, place, rows[index].logprobs or 0)
    return found, step.arrays
