"""What can be taken out of a model's cache and put into a new one, for every class of layer cache.

The keys and values of full attention can be cut at any token, so prompts share them in blocks. The
rest, a sliding window or a recurrent state, is only right after the token at which it was copied: a
checkpoint.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import (
    BatchKVCache,
    CacheList,
    ConcatenateKVCache,
    KVCache,
    QuantizedKVCache,
    RotatingKVCache,
)

Cache = list[Any]
"""A model's cache: an object of one of mlx-lm's classes for each layer."""
Blocks = dict[tuple[int, ...], list[mx.array]]
"""Keys and values of some tokens, by the numbers of the layers stacked in them.

Layers of the same shape share arrays (layers, heads, tokens, dimension), since an array for each
layer would soon exceed the number of buffers that Metal allows.
"""

_CUTTABLE = (KVCache, ConcatenateKVCache, QuantizedKVCache, BatchKVCache)


def flat(cache: Cache) -> Iterator[Any]:
    """Yield the layers, and for a layer with several caches each of them."""
    for layer in cache:
        if isinstance(layer, CacheList):
            yield from flat(layer.caches)
        else:
            yield layer


def can_be_cut(cache: Cache) -> bool:
    """Return whether a cache can be cut at any token, so that it needs no checkpoints."""
    return all(isinstance(layer, _CUTTABLE) for layer in flat(cache))


def checkpointed(cache: Cache) -> Cache:
    """Return the layers that cannot be cut, in order."""
    return [layer for layer in flat(cache) if not isinstance(layer, _CUTTABLE)]


def kinds(cache: Cache) -> list[type]:
    """Return the classes of the layers; only caches of the same kinds can be merged."""
    return [type(layer) for layer in flat(cache)]


def merge(caches: list[Cache]) -> Cache:
    """Return the caches of several sequences as the one of a batch."""
    return [layers[0].merge(list(layers)) for layers in zip(*caches, strict=True)]


def restore(empty: Cache, blocks: list[Blocks], covered: int, checkpoint: Cache) -> Cache:
    """Fill the empty cache with the first `covered` tokens of `blocks` and a checkpoint's layers.

    `checkpoint` holds the layers that cannot be cut, in order.
    """
    layers = list(flat(empty))
    for numbers in blocks[0] if blocks else ():
        columns = zip(*(block[numbers] for block in blocks), strict=True)
        stacked = [mx.concatenate(list(parts), axis=2)[:, :, :covered] for parts in columns]
        for place, number in enumerate(numbers):
            _fill(layers[number], [array[place][None] for array in stacked], covered)
    for layer, kept in zip(checkpointed(empty), checkpoint, strict=True):
        layer.__dict__.update(copy.deepcopy(kept.__dict__))
    return empty


def forget(cache: Cache, count: int) -> None:
    """Remove the last `count` tokens, which were added together with the one before them."""
    for layer in flat(cache):
        if layer.is_trimmable():
            layer.trim(count)
        else:  # a full window, which is longer by what was added last
            layer.keys, layer.values = layer.keys[..., :-count, :], layer.values[..., :-count, :]
            layer.offset -= count
            layer._idx -= count


def put_back(cache: Cache, checkpoint: Cache, count: int) -> None:
    """Go back to a checkpoint of the cache, `count` tokens ago."""
    for layer in flat(cache):
        if isinstance(layer, _CUTTABLE):
            layer.trim(count)
    for layer, kept in zip(checkpointed(cache), checkpoint, strict=True):
        layer.__dict__.update(kept.__dict__)


@dataclass(frozen=True)
class _Source:
    """Where the keys and values of one sequence begin: in row `row`, after `padding` tokens."""

    arrays: list[mx.array]
    row: int
    padding: int

    @property
    def shape(self) -> tuple[Any, ...]:
        return tuple((array.shape[1], array.shape[3], array.dtype) for array in self.arrays)

    def cut(self, start: int, stop: int) -> list[mx.array]:
        first, last = self.padding + start, self.padding + stop
        return [array[self.row, :, first:last] for array in self.arrays]


class CacheSnapshot:
    """The cache of one sequence as it is now; the batch it is part of may go on.

    Nothing is computed or copied before `cut` and `checkpoint` are evaluated, and until then it
    keeps the arrays of the whole batch in memory.
    """

    def __init__(self, cache: Cache, row: int | None = None) -> None:
        """Take a sequence's own cache, or a batch's and the sequence's row in it."""
        self._sources: dict[int, _Source] = {}
        self._rest: list[Any] = []
        padding = 0
        if row is not None:
            batched = (layer for layer in flat(cache) if isinstance(layer, BatchKVCache))
            paddings = [layer.left_padding.tolist() for layer in islice(batched, 1)]
            padding = paddings[0][row] if paddings else 0
        for number, layer in enumerate(flat(cache)):
            if not isinstance(layer, _CUTTABLE):
                self._rest.append(layer if row is None else layer.extract(row))
            elif layer.keys is not None:
                self._sources[number] = _Source(_arrays(layer), row or 0, padding)

    def cut(self, start: int, stop: int) -> Blocks:
        """Return the keys and values of the tokens from `start` to `stop`."""
        alike: dict[tuple[Any, ...], list[int]] = {}
        for number, source in self._sources.items():
            alike.setdefault(source.shape, []).append(number)
        return {
            tuple(numbers): [
                mx.contiguous(mx.stack(list(arrays)))
                for arrays in zip(
                    *(self._sources[number].cut(start, stop) for number in numbers), strict=True
                )
            ]
            for numbers in alike.values()
        }

    def checkpoint(self) -> Cache:
        """Return copies of the layers that cannot be cut, in order."""
        return [_copy(layer) for layer in self._rest]


def arrays_of(cache: Cache) -> Iterator[mx.array]:
    """Yield every array in the layers."""
    for layer in flat(cache):
        yield from _arrays_in(vars(layer))


def _arrays_in(value: Any) -> Iterator[mx.array]:
    if isinstance(value, mx.array):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _arrays_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _arrays_in(each)


def _arrays(layer: Any) -> list[mx.array]:
    """Return the arrays (batch, heads, tokens, dimension) of keys and values."""
    if isinstance(layer.keys, mx.array):
        return [layer.keys, layer.values]
    return [*layer.keys, *layer.values]  # quantized: each has packed values, scales and biases


def _fill(layer: Any, arrays: list[mx.array], covered: int) -> None:
    half = len(arrays) // 2
    keys, values = arrays[:half], arrays[half:]
    layer.keys, layer.values = (keys[0], values[0]) if half == 1 else (keys, values)
    layer.offset = covered


def _copy(layer: Any) -> Any:
    """Return a copy that what happens to the layer later does not change."""
    copied = copy.copy(layer)
    if isinstance(layer, RotatingKVCache) and layer.keys is not None and layer.keep == 0:
        # After a part of a prompt it holds that part too, and not only its window.
        size = layer.size()
        copied.keys = layer._temporal_order(layer.keys)[..., -size:, :]
        copied.values = layer._temporal_order(layer.values)[..., -size:, :]
        copied._idx = size
    copied.__dict__ = _detached(copied.__dict__)
    return copied


def _detached(value: Any) -> Any:
    """Return a copy of a value whose arrays keep no larger array in memory."""
    if isinstance(value, mx.array):
        return mx.contiguous(value)
    if isinstance(value, dict):
        return {key: _detached(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_detached(each) for each in value)
    return value
