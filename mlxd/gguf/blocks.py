"""Turns GGUF tensor types into MLX arrays, keeping the quantisation where MLX has the same.

A quantised GGUF tensor is a sequence of blocks, each with its own scales. MLX's affine quantisation
with groups of 32 holds the same numbers: value = scale * code + bias. Q6_K has groups of 16, which
MLX does not support; it is quantised again, to 8 bits.

Sources: the block structs and dequantisation of ggml (ggml-common.h, ggml-quants.c). MLX packs
codes as a little-endian bit stream.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import mlx.core as mx
import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float32]

GROUP_SIZE = 32
_REQUANTISED_BITS = 8
_FOUR = np.uint8(4)
_BLOCKS_AT_ONCE = 1 << 16  # bounds the memory of a conversion


class Layout(NamedTuple):
    """A tensor type: its name, and the elements and bytes of a block."""

    name: str
    elements: int
    size: int


class Packed(NamedTuple):
    """A tensor in MLX's affine quantisation with groups of GROUP_SIZE."""

    weight: mx.array
    scales: mx.array
    biases: mx.array
    bits: int


LAYOUTS = {
    0: Layout("F32", 1, 4),
    1: Layout("F16", 1, 2),
    2: Layout("Q4_0", 32, 18),
    3: Layout("Q4_1", 32, 20),
    6: Layout("Q5_0", 32, 22),
    7: Layout("Q5_1", 32, 24),
    8: Layout("Q8_0", 32, 34),
    12: Layout("Q4_K", 256, 144),
    13: Layout("Q5_K", 256, 176),
    14: Layout("Q6_K", 256, 210),
    30: Layout("BF16", 1, 2),
}

# Every type of ggml in the order of its numbers; "-" is one that was removed.
_NAMES = (
    "F32 F16 Q4_0 Q4_1 - - Q5_0 Q5_1 Q8_0 Q8_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ2_XXS IQ2_XS "
    "IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S IQ4_XS I8 I16 I32 I64 F64 IQ1_M BF16 - - - TQ1_0 TQ2_0 "
    "- - - MXFP4"
)


def type_name(kind: int) -> str:
    """Return the name of a tensor type as GGUF's tools write it."""
    name = dict(enumerate(_NAMES.split())).get(kind, "-")
    return f"type {kind}" if name == "-" else name


def as_stored(
    kind: int, shape: tuple[int, ...], blocks: Bytes, scale_type: mx.Dtype
) -> Packed | mx.array:
    """Return a tensor as it is in the file: quantised, or plain in its own type.

    `kind` is a key of LAYOUTS, `shape` rows first, `blocks` one block a row; `scale_type` is the
    type of the scales and biases.
    """
    if kind in _PLAIN:
        return _PLAIN[kind](blocks).reshape(shape)
    if kind not in _AFFINE:
        values = dense(kind, shape, blocks, mx.float32)
        weight, scales, biases = mx.quantize(values, GROUP_SIZE, _REQUANTISED_BITS)
        bits = _REQUANTISED_BITS
    else:
        bits, decode = _AFFINE[kind]
        parts = []
        for part in _parts(len(blocks)):
            codes, *affine = decode(blocks[part])
            words = _pack(codes, bits).view(np.uint32)
            parts.append((mx.array(words), *(mx.array(floats) for floats in affine)))
        weight, scales, biases = (
            mx.concatenate(list(columns)).reshape(*shape[:-1], -1)
            for columns in zip(*parts, strict=True)
        )
    packed = Packed(weight, scales.astype(scale_type), biases.astype(scale_type), bits)
    mx.eval(packed.weight, packed.scales, packed.biases)
    return packed


def dense(kind: int, shape: tuple[int, ...], blocks: Bytes, dtype: mx.Dtype) -> mx.array:
    """Return a tensor dequantised to `dtype`; the arguments are those of `as_stored`."""
    if kind in _PLAIN:
        return _PLAIN[kind](blocks).reshape(shape).astype(dtype)
    parts = [mx.array(_values(kind, blocks[part])).astype(dtype) for part in _parts(len(blocks))]
    mx.eval(parts)
    return mx.concatenate(parts).reshape(shape)


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, _BLOCKS_AT_ONCE):
        yield slice(start, start + _BLOCKS_AT_ONCE)


def _values(kind: int, blocks: Bytes) -> Floats:
    if kind not in _AFFINE:
        return _q6_k(blocks)
    codes, scales, biases = _AFFINE[kind][1](blocks)
    groups = codes.reshape(len(blocks), -1, GROUP_SIZE).astype(np.float32)
    values: Floats = groups * scales[..., None] + biases[..., None]
    return values.reshape(len(blocks), -1)


def _pack(codes: Bytes, bits: int) -> Bytes:
    if bits == 8:
        return codes
    if bits == 4:
        return codes[:, 0::2] | codes[:, 1::2] << _FOUR
    stream = np.unpackbits(codes[..., None], axis=-1, count=bits, bitorder="little")
    return np.packbits(stream.reshape(len(codes), -1), axis=-1, bitorder="little")


_PLAIN: dict[int, Callable[[Bytes], mx.array]] = {
    0: lambda blocks: mx.array(blocks.view(np.float32)),
    1: lambda blocks: mx.array(blocks.view(np.float16)),
    30: lambda blocks: mx.array(blocks.view(np.uint16)).view(mx.bfloat16),
}


# The codes (n, elements), scales and biases (n, groups) of n blocks.
_Decoded: TypeAlias = tuple[Bytes, Floats, Floats]


def _half(blocks: Bytes, at: int) -> Floats:
    column = np.ascontiguousarray(blocks[:, at : at + 2])
    return column.view(np.float16).astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """Return the low halves of all bytes, then the high ones."""
    return np.concatenate([packed & 0x0F, packed >> _FOUR], axis=-1)


def _fifth_bits(blocks: Bytes, at: int) -> Bytes:
    """Return the fifth bit of each of 32 elements."""
    return np.unpackbits(blocks[:, at : at + 4], axis=-1, bitorder="little") << _FOUR


def _q4_0(blocks: Bytes) -> _Decoded:
    scales = _half(blocks, 0)
    return _nibbles(blocks[:, 2:]), scales, -8 * scales


def _q4_1(blocks: Bytes) -> _Decoded:
    return _nibbles(blocks[:, 4:]), _half(blocks, 0), _half(blocks, 2)


def _q5_0(blocks: Bytes) -> _Decoded:
    scales = _half(blocks, 0)
    return _nibbles(blocks[:, 6:]) | _fifth_bits(blocks, 2), scales, -16 * scales


def _q5_1(blocks: Bytes) -> _Decoded:
    codes = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks, 4)
    return codes, _half(blocks, 0), _half(blocks, 2)


def _q8_0(blocks: Bytes) -> _Decoded:
    scales = _half(blocks, 0)
    return blocks[:, 2:] ^ np.uint8(0x80), scales, -128 * scales


def _k_scales(blocks: Bytes) -> tuple[Floats, Floats]:
    """Return the scales and biases of the 8 groups of a Q4_K or Q5_K block.

    It has two halves, then 12 bytes: 8 six-bit scales and 8 six-bit minimums.
    """
    low, middle, high = (blocks[:, start : start + 4] for start in (4, 8, 12))
    scales = np.concatenate([low & 0x3F, (high & 0x0F) | (low >> 6) << _FOUR], axis=-1)
    minimums = np.concatenate([middle & 0x3F, (high >> _FOUR) | (middle >> 6) << _FOUR], axis=-1)
    return scales * _half(blocks, 0), -minimums.astype(np.float32) * _half(blocks, 2)


def _k_nibbles(packed: Bytes) -> Bytes:
    """Return 256 elements of 128 bytes: 32 bytes hold one group low and the next one high."""
    return _nibbles(packed.reshape(-1, 4, 32)).reshape(-1, 256)


def _q4_k(blocks: Bytes) -> _Decoded:
    return _k_nibbles(blocks[:, 16:]), *_k_scales(blocks)


def _q5_k(blocks: Bytes) -> _Decoded:
    group_bits = np.arange(8, dtype=np.uint8)[:, None]
    fifth: Bytes = (blocks[:, None, 16:48] >> group_bits & np.uint8(1)) << _FOUR
    return _k_nibbles(blocks[:, 48:]) | fifth.reshape(-1, 256), *_k_scales(blocks)


def _q6_k(blocks: Bytes) -> Floats:
    """Return the values of blocks of 16 groups of 16, each half of them stored in 4 runs of 32."""
    low = blocks[:, :128].reshape(-1, 2, 2, 32)
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32)
    run_shifts = np.array([0, 2, 4, 6], np.uint8)[:, None]
    nibbles = np.concatenate([low & 0x0F, low >> _FOUR], axis=2)
    codes = (nibbles | (high >> run_shifts & 3) << _FOUR).astype(np.float32) - 32
    scales = blocks[:, 192:208].view(np.int8) * _half(blocks, 208)
    values: Floats = codes.reshape(-1, 16, 16) * scales[..., None]
    return values.reshape(-1, 256)


_AFFINE: dict[int, tuple[int, Callable[[Bytes], _Decoded]]] = {
    2: (4, _q4_0),
    3: (4, _q4_1),
    6: (5, _q5_0),
    7: (5, _q5_1),
    8: (8, _q8_0),
    12: (4, _q4_k),
    13: (5, _q5_k),
}
