"""How the next tokens of a batch are chosen: one call for all rows with equal parameters.

Every row draws its noise from a key of its own, made of its seed and its position, so a seeded
request gives the same tokens whatever else is in the batch.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p

from mlxd.messages import Sampling

_WORD = 0xFFFFFFFF
_GREEDY_BELOW = 1e-6  # its inverse would leave float32


@dataclass(frozen=True)
class RowSampler:
    """What one row of the batch samples with; `seed` is one 32-bit word."""

    sampling: Sampling
    seed: int


def make_row_sampler(sampling: Sampling, seed: int | None) -> RowSampler:
    """Give a row's sampler; without a `seed` it draws one."""
    if seed is None:
        return RowSampler(sampling, secrets.randbits(32))
    return RowSampler(sampling, (seed ^ (seed >> 32) * 0x9E3779B1) & _WORD)


class RowGroups:
    """The rows of a batch, grouped by equal sampling parameters."""

    def __init__(self, samplers: Sequence[RowSampler]) -> None:
        groups: dict[Sampling, list[int]] = {}
        for row, sampler in enumerate(samplers):
            groups.setdefault(sampler.sampling, []).append(row)
        self._seeds = [sampler.seed for sampler in samplers]
        self._groups = list(groups.items())
        order = [row for _, rows in self._groups for row in rows]
        self._row_of = mx.argsort(mx.array(order)) if len(groups) > 1 else None

    def sample(self, logits: mx.array, positions: Sequence[int]) -> mx.array:
        """Choose one token a row.

        Args:
            logits: (rows, vocabulary).
            positions: how many tokens each row holds, so that each step has its own noise.

        Returns:
            (rows,) token ids.
        """
        if self._row_of is None:
            ((sampling, _),) = self._groups
            return _choose(logits, sampling, self._seeds, positions)
        chosen = [
            _choose(
                logits[mx.array(rows)],
                sampling,
                [self._seeds[row] for row in rows],
                [positions[row] for row in rows],
            )
            for sampling, rows in self._groups
        ]
        return mx.concatenate(chosen)[self._row_of]


def _choose(
    logits: mx.array, sampling: Sampling, seeds: Sequence[int], positions: Sequence[int]
) -> mx.array:
    if sampling.temperature < _GREEDY_BELOW:
        return mx.argmax(logits, axis=-1)
    logits = logits.astype(mx.float32)
    logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    vocabulary = logprobs.shape[-1]
    if 0 < sampling.top_p < 1:
        logprobs = apply_top_p(logprobs, sampling.top_p)
    if sampling.min_p > 0:
        logprobs = apply_min_p(logprobs, sampling.min_p)
    if 0 < sampling.top_k < vocabulary:
        logprobs = apply_top_k(logprobs, sampling.top_k)
    keys = mx.array([[s, p & _WORD] for s, p in zip(seeds, positions, strict=True)], mx.uint32)
    noise = mx.vmap(lambda key: mx.random.gumbel((vocabulary,), key=key))(keys)
    return mx.argmax(logprobs * (1 / sampling.temperature) + noise, axis=-1)
