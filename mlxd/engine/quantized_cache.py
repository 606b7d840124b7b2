"""Key-value caches of 4 or 8 bits a value, which can be batched.

mlx-lm has such a cache for one sequence, but not for a batch. These store what mlx-lm's does, and
have the methods of its `KVCache` and `BatchKVCache`.

Attention multiplies with the quantized arrays where it reads them for few tokens, as in decoding.
Where that would be slower, in prefill, or is impossible, it gets arrays in full precision, of one
layer at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import (
    BatchKVCache,
    CacheList,
    KVCache,
    dynamic_roll,
)

from mlxd.engine.cache_layers import Blocks, Cache, flat, merge
from mlxd.errors import LoadFailed

Packed = tuple[mx.array, ...]
"""Values packed into uint32, scales and biases: arrays (batch, heads, tokens, …)."""

_FEW_TOKENS = 4
"""Quantized products cost the same for each token; full precision costs once for all of them."""
_GROUP_SIZES = (128, 64, 32)
"""What MLX can quantize, the largest first."""
_TRY_PRODUCTS = (False,) if mx.cuda.is_available() else (True, False)
"""Whether attention is to multiply with quantized arrays: what is tried, in order.

MLX has no products for every head dimension on CUDA, and says so only when it computes them.
"""
_FAULTS = (AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What mlx-lm's models and MLX raise where an array or a cache is not what they expect."""
_TOKENS = 2  # the axis
_Array = Any
"""An mlx array; mlx's own stubs leave its item assignment untyped."""


@dataclass(frozen=True)
class CacheFormat:
    """How a layer's keys and values are quantized.

    `group_size` values share a scale. `products` says whether the model's attention can multiply
    with quantized arrays.
    """

    bits: int
    group_size: int
    products: bool = True

    def quantize(self, array: mx.array) -> Packed:
        """Quantize an array (batch, heads, tokens, dimension)."""
        return mx.quantize(array, self.group_size, self.bits)

    def dequantize(self, packed: Packed) -> mx.array:
        """Return the values of `packed`, of the type that its scales have."""
        values, scales, biases = packed
        return mx.dequantize(values, scales, biases, self.group_size, self.bits)


class _QuantizedStorage:
    """The arrays of a quantized cache: what both caches below have in common."""

    step: int
    keys: Packed | None
    values: Packed | None
    _fetches_packed = False

    def __init__(self, cache_format: CacheFormat, *args: Any) -> None:
        super().__init__(*args)
        self.format = cache_format

    @property
    def bits(self) -> int:
        """Bits of the keys and values fetched last.

        mlx-lm's attention takes them for quantized ones if there is such an attribute.
        """
        if not self._fetches_packed:
            raise AttributeError("the keys and values fetched last are in full precision")
        return self.format.bits

    @property
    def group_size(self) -> int:
        """How many values share a scale."""
        return self.format.group_size

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, the room for more tokens included."""
        return sum(array.nbytes for array in self._arrays)

    @property
    def _arrays(self) -> list[_Array]:
        return [] if self.keys is None or self.values is None else [*self.keys, *self.values]

    @_arrays.setter
    def _arrays(self, arrays: Sequence[mx.array]) -> None:
        self.keys, self.values = (tuple(arrays[:3]), tuple(arrays[3:])) if arrays else (None, None)

    def _cut(self, stop: int) -> list[_Array]:
        """Return the arrays of the first `stop` tokens, an empty list if there are none."""
        return [array[..., :stop, :] for array in self._arrays]

    def _change(self, change: Callable[[mx.array], mx.array]) -> None:
        """Replace every array by what `change` returns for it."""
        self._arrays = [change(array) for array in self._arrays]

    def _append(self, keys: mx.array, values: mx.array, start: int) -> None:
        """Store the keys and values of the tokens from `start` on, in place of any there."""
        tokens = keys.shape[_TOKENS]
        self._fetches_packed = self.format.products and tokens <= _FEW_TOKENS
        new = [*self.format.quantize(keys), *self.format.quantize(values)]
        stop = start + tokens
        if not self._arrays or stop > self._arrays[0].shape[_TOKENS]:
            room = -(-tokens // self.step) * self.step
            self._arrays = [
                _pad(array, 0, room)
                for array in self._cut(start) or [array[..., :0, :] for array in new]
            ]
        for stored, array in zip(self._arrays, new, strict=True):
            stored[..., start:stop, :] = array

    def _fetch(self, stop: int) -> tuple[Packed, Packed] | tuple[mx.array, mx.array]:
        """Return the first `stop` keys and values, quantized or not."""
        arrays = self._cut(stop)
        keys, values = tuple(arrays[:3]), tuple(arrays[3:])
        if self._fetches_packed:
            return keys, values
        return self.format.dequantize(keys), self.format.dequantize(values)


class MergeableQuantizedKVCache(_QuantizedStorage, KVCache):  # type: ignore[misc]
    """The quantized keys and values of one sequence, which can join a batch."""

    offset: int

    @classmethod
    def of(cls, cache: Any, cache_format: CacheFormat) -> "MergeableQuantizedKVCache":
        """Quantize a sequence's `KVCache`."""
        quantized = cls(cache_format)
        if cache.keys is not None:
            keys, values = cache.keys_and_values()
            quantized._arrays = [*cache_format.quantize(keys), *cache_format.quantize(values)]
            quantized.offset = cache.offset
        return quantized

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[Any, Any]:
        """Store keys and values (1, heads, tokens, dimension), and return all there are."""
        self._append(keys, values, self.offset)
        self.offset += keys.shape[_TOKENS]
        return self.keys_and_values()

    def keys_and_values(self) -> tuple[Any, Any]:
        """Return the keys and values, quantized if there is an attribute `bits`."""
        return self._fetch(self.offset)

    @classmethod
    def merge(cls, caches: list["MergeableQuantizedKVCache"]) -> "BatchQuantizedKVCache":
        """Return a batch with the sequences of `caches` as its rows."""
        longest = max(cache.offset for cache in caches)
        batch = BatchQuantizedKVCache(
            caches[0].format, [longest - cache.offset for cache in caches]
        )
        batch.offset += longest
        batch._idx = longest
        batch._arrays = _joined([(1, cache._cut(cache.offset)) for cache in caches], batch.step)
        return batch


class BatchQuantizedKVCache(_QuantizedStorage, BatchKVCache):  # type: ignore[misc]
    """The quantized keys and values of several sequences, padded on the left to one length."""

    offset: mx.array
    left_padding: mx.array
    _idx: int
    _right_padding: mx.array | None

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[Any, Any]:
        """Store keys and values (rows, heads, tokens, dimension), and return all there are."""
        tokens = keys.shape[_TOKENS]
        self._append(keys, values, self._idx)
        self.offset = self.offset + tokens
        self._idx += tokens
        return self.keys_and_values()

    def keys_and_values(self) -> tuple[Any, Any]:
        """Return the keys and values, quantized if there is an attribute `bits`."""
        return self._fetch(self._idx)

    def finalize(self) -> None:
        """Move the padding that `prepare` announced on the right of a prompt to the left."""
        if (padding := self._right_padding) is not None:
            self._change(lambda array: dynamic_roll(array, padding[:, None], axis=_TOKENS))
            self.offset = self.offset - padding
            self.left_padding = self.left_padding + padding
            self._right_padding = None

    def filter(self, batch_indices: list[int]) -> None:
        """Keep only some rows, and no padding that all of them have."""
        self._change(lambda array: array[batch_indices])
        self.offset = self.offset[batch_indices]
        padding = self.left_padding[batch_indices]
        common: int = padding.min().item()  # type: ignore[assignment]
        if common > 0:
            self._change(lambda array: array[..., common:, :])
            self._idx -= common
        self.left_padding = padding - common

    def extend(self, other: "BatchQuantizedKVCache") -> None:
        """Add the rows of another batch."""
        longest = max(self._idx, other._idx)
        both = (self, other)
        self._arrays = _joined(
            [(batch.offset.shape[0], batch._cut(batch._idx)) for batch in both], self.step
        )
        self.left_padding = mx.concatenate(
            [batch.left_padding + (longest - batch._idx) for batch in both]
        )
        self.offset = mx.concatenate([batch.offset for batch in both])
        self._idx = longest

    def extract(self, idx: int) -> MergeableQuantizedKVCache:
        """Return the cache of the sequence in row `idx`."""
        padding: int = self.left_padding[idx].item()  # type: ignore[assignment]
        cache = MergeableQuantizedKVCache(self.format)
        cache.offset = self._idx - padding
        cache._arrays = [
            mx.contiguous(array[idx : idx + 1, :, padding:]) for array in self._cut(self._idx)
        ]
        return cache


def _joined(parts: list[tuple[int, list[_Array]]], step: int) -> list[mx.array]:
    """Stack the rows of batches: for each the number of its rows, and its arrays if it has any.

    All are padded on the left to the length of the longest, and on the right to a multiple of
    `step`.
    """
    filled = [arrays for _, arrays in parts if arrays]
    if not filled:
        return []
    longest = max(arrays[0].shape[_TOKENS] for arrays in filled)
    empty = [(array.shape, array.dtype) for array in filled[0]]
    rows_of_arrays = (
        arrays or [mx.zeros((rows, heads, 0, size), dtype) for (_, heads, _, size), dtype in empty]
        for rows, arrays in parts
    )
    return [
        mx.concatenate(
            [_pad(array, longest - array.shape[_TOKENS], -longest % step) for array in arrays]
        )
        for arrays in zip(*rows_of_arrays, strict=True)
    ]


def _pad(array: mx.array, left: int, right: int) -> mx.array:
    """Add zeros before and after the tokens of an array."""
    return mx.pad(array, [(0, 0), (0, 0), (left, right), (0, 0)]) if left or right else array


class CacheQuantization:
    """How the cache of one model is quantized: layers that keep all tokens are, if they can be.

    Sliding windows and recurrent states stay as they are. `formats` has one entry for each layer
    that `cache_layers.flat` yields, None where it stays as it is. The cache of a sequence is to be
    quantized once it holds `start` tokens.
    """

    def __init__(self, model: Any, bits: int, group_size: int, start: int = 0) -> None:
        """Find out what works with `model`, without computing anything.

        Where `group_size` does not divide the dimensions of a layer's heads, a smaller one is used.

        Raises:
            LoadFailed: nothing can be quantized.
        """
        # Not mlx-lm's make_prompt_cache: the loader has it ask `new_cache`.
        self._new_plain: Callable[[], Cache] = getattr(
            model, "make_cache", lambda: [KVCache() for _ in model.layers]
        )
        self.formats = self._find_formats(model, bits, group_size)
        self.start = start

    def new_cache(self, tokens: int = 0) -> Cache:
        """Return an empty cache for a sequence that already has `tokens` tokens."""
        plain = self._new_plain()
        return self.quantize(plain) if tokens >= self.start else plain

    def quantize(self, cache: Cache) -> Cache:
        """Return the quantized cache of a sequence that has a plain one; it shares other layers."""
        return list(_quantized(cache, iter(self.formats)))

    def convert(self, blocks: Blocks, tokens: int) -> Blocks:
        """Return keys and values in the form that a sequence of `tokens` tokens has.

        What another sequence kept of the same tokens may have the other form.
        """
        return {
            numbers: _converted(arrays, self.formats[numbers[0]], tokens >= self.start)
            for numbers, arrays in blocks.items()
        }

    def _find_formats(self, model: Any, bits: int, group_size: int) -> list[CacheFormat | None]:
        cache = self._new_plain()
        model(mx.zeros((1, 1), mx.uint32), cache=cache)
        complete = [
            layer if type(layer) is KVCache and layer.keys is not None else None
            for layer in flat(cache)
        ]
        if not any(complete):
            raise LoadFailed("no layer of this model keeps the keys and values of all tokens")
        formats = [layer and _format_for(layer, bits, group_size) for layer in complete]
        if not any(formats):
            smallest = _GROUP_SIZES[-1]
            dimensions = {size for layer in complete if layer for size in _head_dimensions(layer)}
            unfit = ", ".join(str(size) for size in sorted(dimensions) if size % smallest)
            raise LoadFailed(f"heads of {unfit} values cannot be divided into groups of {smallest}")
        rows = 2 if _computes(model, self._new_plain, 2) else 1
        for products in _TRY_PRODUCTS:
            self.formats = [each and replace(each, products=products) for each in formats]
            if _computes(model, lambda: self.quantize(self._new_plain()), rows):
                return self.formats
        raise LoadFailed("the attention of this model does not work with a quantized cache")


def _computes(model: Any, new_cache: Callable[[], Cache], rows: int) -> bool:
    """Return whether a batch of prompts of many tokens, and a step after it, raise nothing.

    MLX checks types and shapes when it is told what to compute, which it never does here.
    """
    caches = [new_cache() for _ in range(rows)]
    try:
        cache = merge(caches) if rows > 1 else caches[0]
        for tokens in (_FEW_TOKENS + 1, 1):
            model(mx.zeros((rows, tokens), mx.uint32), cache=cache)
    except _FAULTS:
        return False
    return True


def _converted(
    arrays: list[mx.array], layer_format: CacheFormat | None, quantized: bool
) -> list[mx.array]:
    if layer_format is None or quantized == (len(arrays) > 2):
        return arrays
    if quantized:
        keys, values = arrays
        return [*layer_format.quantize(keys), *layer_format.quantize(values)]
    return [layer_format.dequantize(tuple(half)) for half in (arrays[:3], arrays[3:])]


def _quantized(layers: Iterable[Any], formats: Iterator[CacheFormat | None]) -> Iterator[Any]:
    for layer in layers:
        if isinstance(layer, CacheList):
            yield CacheList(*_quantized(layer.caches, formats))
        elif (layer_format := next(formats)) is not None:
            yield MergeableQuantizedKVCache.of(layer, layer_format)
        else:
            yield layer


def _format_for(layer: Any, bits: int, group_size: int) -> CacheFormat | None:
    """Return the format with the largest groups that fit into a head of the layer."""
    for size in _GROUP_SIZES:
        if size <= group_size and not any(each % size for each in _head_dimensions(layer)):
            return CacheFormat(bits, size)
    return None


def _head_dimensions(layer: Any) -> tuple[int, int]:
    return layer.keys.shape[-1], layer.values.shape[-1]
