"""What an engine's memory is used for: what a sequence's cache takes, and what there is room for.

What the weights and the program take is measured once the model is loaded. The rest of the budget
goes to the caches of running sequences, to what a step needs for a moment, and, as far as these
leave it, to the prompt cache.
"""

from bisect import bisect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import (
    ChunkedKVCache,
    KVCache,
    RotatingKVCache,
    make_prompt_cache,
)

from mlxd.engine.cache_layers import arrays_of, flat
from mlxd.engine.stats import give_memory_back, memory_bytes
from mlxd.units import size

_ROUNDED = KVCache.step
"""How many tokens mlx-lm's caches grow by."""
_SMALLEST_WORKSPACE, _LARGEST_WORKSPACE = 8_000_000, 2_000_000_000
_SHORTEST_CONTEXT = 1024
_LEAST_PADDING = 32_000_000
_SHARE_OF_WORKSPACE = 4
"""A step may use one part in this many as temporary memory."""


@dataclass(frozen=True)
class CacheSize:
    """How many bytes a sequence's cache takes.

    `layers` has the bytes of a token in each layer, and how many tokens it holds at most, None for
    all; `fixed` is what does not depend on the length.
    """

    layers: tuple[tuple[int, int | None], ...]
    fixed: int

    @classmethod
    def of(cls, model: Any) -> "CacheSize":
        """Return that of a model; a prompt is put together for it, but not computed."""
        cache = make_prompt_cache(model)
        model(mx.zeros((1, 2), mx.uint32), cache=cache)
        layers: list[tuple[int, int | None]] = []
        fixed = 0
        for layer in flat(cache):
            total = sum(array.nbytes for array in arrays_of([layer]))
            keys = getattr(layer, "keys", None)
            if keys is None:
                fixed += total
                continue
            length = (keys if isinstance(keys, mx.array) else keys[0]).shape[2]
            most = None
            if isinstance(layer, RotatingKVCache):
                most = layer.max_size
            elif isinstance(layer, ChunkedKVCache):
                most = layer.chunk_size
            layers.append((total // length, most))
        return cls(tuple(layers), fixed)

    def of_tokens(self, tokens: int) -> int:
        """Return the bytes of a cache of `tokens` tokens."""
        held: int = -(-tokens // _ROUNDED) * _ROUNDED
        return self.fixed + sum(
            each * (held if most is None else min(held, most)) for each, most in self.layers
        )

    def most_padding(self) -> int:
        """Return how many tokens of padding a step computes in the time of another batch.

        A step reads the keys and values of padding, and another batch reads the weights again,
        which must be in memory now.
        """
        each_token = sum(each for each, most in self.layers if most is None)
        worth = max(_LEAST_PADDING, mx.get_active_memory())
        return worth // each_token if each_token else worth

    def of_batch(self, lengths: Iterable[int]) -> int:
        """Return the bytes of a batch of sequences, which are padded to the longest of them."""
        lengths = list(lengths)
        return len(lengths) * self.of_tokens(max(lengths)) if lengths else 0

    def of_changing_batch(self, lengths: Iterable[int]) -> int:
        """Return the same while a sequence joins: a layer is there twice then."""
        once = self.of_batch(lengths)
        return once + once // max(1, len(self.layers))


class Memory:
    """The memory of an engine: `budget` bytes in all, of which `base` are taken by what stays.

    A budget of 0 is no limit.
    """

    def __init__(
        self,
        budget: int,
        base: int,
        cache_size: CacheSize,
        measure: Callable[[], int] | None = None,
    ) -> None:
        """Take what is known, and a function that measures `base` again."""
        self.budget = budget
        self.base = base
        self.cache_size = cache_size
        self._measure = measure
        self._trimmed_base = base

    @classmethod
    def of_process(cls, model: Any) -> "Memory":
        """Return that of this process, which has loaded a model and done nothing else."""
        weights = mx.get_active_memory()

        def measure() -> int:
            return memory_bytes() - (mx.get_active_memory() - weights) - mx.get_cache_memory()

        return cls(0, measure(), CacheSize.of(model), measure)

    @classmethod
    def unlimited(cls) -> "Memory":
        """Return one without a limit."""
        return cls(0, 0, CacheSize((), 0))

    def refresh(self) -> None:
        """Measure what stays: libraries take memory of their own when they are first used."""
        if self._measure is None:
            return
        self.base = self._measure()
        if self.base > self._trimmed_base + self.room // _SHARE_OF_WORKSPACE:
            give_memory_back()
            self.base = self._trimmed_base = self._measure()

    @property
    def room(self) -> int:
        """How many bytes there are for caches and for what a step needs.

        That is enough for one short conversation, whatever the budget: the model was loaded.
        """
        least = self.cache_size.of_changing_batch([_SHORTEST_CONTEXT]) + _SMALLEST_WORKSPACE
        return max(least, self.budget - self.base)

    @property
    def workspace(self) -> int:
        """How many bytes of temporary memory a step may take."""
        share = self.room // _SHARE_OF_WORKSPACE
        return min(max(_SMALLEST_WORKSPACE, share), _LARGEST_WORKSPACE)

    def fits(self, lengths: Iterable[int]) -> bool:
        """Return whether sequences of these `lengths` in tokens can run together."""
        if not self.budget:
            return True
        return self.cache_size.of_changing_batch(lengths) + self.workspace <= self.room

    def longest(self, most: int) -> int | None:
        """Return how many tokens, up to `most`, a sequence alone may have; None without a limit."""
        if not self.budget:
            return None
        return bisect(range(1, most + 1), False, key=lambda tokens: not self.fits([tokens]))

    def left(self, lengths: Iterable[int], most: int) -> int:
        """Return how many bytes, up to `most`, running sequences leave to the prompt cache."""
        if not self.budget:
            return most
        used = self.cache_size.of_changing_batch(lengths) + self.workspace
        return max(0, min(most, self.room - used))

    def why_not(self, tokens: int) -> str:
        """Return why a prompt of `tokens` tokens can never run."""
        need = self.cache_size.of_tokens(tokens)
        return (
            f"the prompt has {tokens} tokens, whose cache takes {size(need)}; models.memory_limit "
            f"leaves {size(max(0, self.room - self.workspace))} of {size(self.budget)} for that: "
            f"weights and program take {size(self.base)}, a step {size(self.workspace)}"
        )
