"""How the next tokens of a batch are chosen: one call for all rows with equal parameters.

Every row draws its noise from a key of its own, made of its seed and its position, so a seeded
request gives the same tokens whatever else is in the batch.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p, apply_xtc

from mlxd.engine.structured_output import Constraint
from mlxd.generate_request import Sampling

_WORD = 0xFFFFFFFF
_GREEDY_BELOW = 1e-6  # its inverse would leave float32
_XTC_STREAM = 0x5851F42D  # keeps the draws of xtc apart from those of the token


@dataclass(frozen=True, eq=False)
class Row:
    """How the tokens of one sequence are chosen.

    `seed` is one 32-bit word, `prompt_tokens` the length of the prompt, `logprobs` how many of the
    likeliest tokens are reported beside the chosen one; None reports nothing. xtc never leaves out
    one of `kept_by_xtc`.
    """

    sampling: Sampling
    seed: int
    prompt_tokens: int = 0
    logprobs: int | None = None
    constraint: Constraint | None = None
    kept_by_xtc: tuple[int, ...] = ()


def seed_word(seed: int | None) -> int:
    """Return the word for a request's `seed`, a random one for None."""
    if seed is None:
        return secrets.randbits(32)
    return (seed ^ (seed >> 32) * 0x9E3779B1) & _WORD


class RowGroups:
    """The rows of a batch, grouped by equal sampling parameters."""

    def __init__(self, rows: Sequence[Row]) -> None:
        groups: dict[Sampling, list[int]] = {}
        for index, row in enumerate(rows):
            groups.setdefault(row.sampling, []).append(index)
        self._rows = rows
        self._groups = list(groups.items())
        order = [index for _, indices in self._groups for index in indices]
        self._row_of = mx.argsort(mx.array(order)) if len(groups) > 1 else None

    def sample(self, logits: mx.array, positions: Sequence[int]) -> mx.array:
        """Choose one token for each row.

        Args:
            logits: (rows, vocabulary).
            positions: how many tokens each row holds, so that each step has its own noise.

        Returns:
            (rows,) token ids.
        """
        if self._row_of is None:
            return choose(logits, self._rows, positions)
        chosen = [
            choose(
                logits[mx.array(indices)],
                [self._rows[index] for index in indices],
                [positions[index] for index in indices],
            )
            for _, indices in self._groups
        ]
        return mx.concatenate(chosen)[self._row_of]


def choose(logits: mx.array, rows: Sequence[Row], positions: Sequence[int]) -> mx.array:
    """Choose one token for each row, as `RowGroups.sample`, for rows with the same `sampling`."""
    sampling = rows[0].sampling
    if sampling.temperature < _GREEDY_BELOW:
        return mx.argmax(logits, axis=-1)
    logits = logits.astype(mx.float32)
    logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    vocabulary = logprobs.shape[-1]
    if 0 < sampling.top_p < 1:
        # A tiny share leaves out even the likeliest, as the sum of all is not exactly 1.
        logprobs = mx.maximum(apply_top_p(logprobs, sampling.top_p), _likeliest(logprobs))
    if sampling.min_p > 0:
        logprobs = apply_min_p(logprobs, sampling.min_p)
    if sampling.xtc_probability > 0:
        logprobs = _apply_xtc(logprobs, rows, positions)
    if 0 < sampling.top_k < vocabulary:
        logprobs = apply_top_k(logprobs, sampling.top_k)
    keys = mx.array([_key(row.seed, p) for row, p in zip(rows, positions, strict=True)], mx.uint32)
    noise = mx.vmap(lambda key: mx.random.gumbel((vocabulary,), key=key))(keys)
    return mx.argmax(logprobs * (1 / sampling.temperature) + noise, axis=-1)


def _likeliest(logprobs: mx.array) -> mx.array:
    return mx.where(logprobs == logprobs.max(axis=-1, keepdims=True), logprobs, -mx.inf)


def _apply_xtc(logprobs: mx.array, rows: Sequence[Row], positions: Sequence[int]) -> mx.array:
    """Leave out the top choices, in each row with a draw of its own."""
    sampling = rows[0].sampling
    keys = mx.array(
        [_key(row.seed ^ _XTC_STREAM, p) for row, p in zip(rows, positions, strict=True)],
        mx.uint32,
    )
    drawn = mx.vmap(lambda key: mx.random.uniform(key=key))(keys)
    without = apply_xtc(logprobs, 1.0, sampling.xtc_threshold, list(rows[0].kept_by_xtc))
    return mx.where((drawn < sampling.xtc_probability)[:, None], without, logprobs)


def _key(seed: int, position: int) -> list[int]:
    return [seed, position & _WORD]
