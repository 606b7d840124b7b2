"""Turns GGUF tensors into MLX arrays: dequantized, or packed in MLX's own quantization.

A quantized GGUF tensor is a sequence of blocks, each with its own scales. MLX's affine quantization
with groups of 32 holds the same numbers: value = scale * code + bias. Q6_K has groups of 16, which
MLX does not support; it is quantized again, to 8 bits.

The `gguf` package dequantizes blocks. It also reads their codes: with the scales set to 1 and the
biases to 0, the values of a block are its codes. Source for where a block keeps scales and biases:
ggml-common.h of ggml. MLX packs codes as a little-endian bit stream.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, ReaderTensor, quants

Bytes: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float32]

GROUP_SIZE = 32
_REQUANTISED_BITS = 8
_FOUR = np.uint8(4)
_BYTES_AT_ONCE = 1 << 18  # bounds the memory of a conversion


class Packed(NamedTuple):
    """A tensor in MLX's affine quantization with groups of GROUP_SIZE."""

    weight: mx.array
    scales: mx.array
    biases: mx.array
    bits: int


class _Affine(NamedTuple):
    """How the blocks of a type hold codes of `bits` bits.

    `unit` is the start of a block with the scales 1 and the biases 0. Types without biases have a
    code for 0, `zero`.
    """

    bits: int
    unit: bytes
    zero: int = 0


_ONE, _NONE = np.float16(1).tobytes(), np.float16(0).tobytes()
_K_UNIT = _ONE + _NONE + b"\1" * 12  # 12 bytes for 8 six-bit scales and 8 six-bit minimums
_AFFINE = {
    GGMLQuantizationType.Q4_0: _Affine(4, _ONE, zero=8),
    GGMLQuantizationType.Q4_1: _Affine(4, _ONE + _NONE),
    GGMLQuantizationType.Q5_0: _Affine(5, _ONE, zero=16),
    GGMLQuantizationType.Q5_1: _Affine(5, _ONE + _NONE),
    GGMLQuantizationType.Q8_0: _Affine(8, _ONE, zero=128),
    GGMLQuantizationType.Q4_K: _Affine(4, _K_UNIT),
    GGMLQuantizationType.Q5_K: _Affine(5, _K_UNIT),
}

PLAIN = {
    GGMLQuantizationType.F32: mx.float32,
    GGMLQuantizationType.F16: mx.float16,
    GGMLQuantizationType.BF16: mx.bfloat16,
}
"""The tensor types that are not quantized, and MLX's names for them."""

TYPES = (*PLAIN, *_AFFINE, GGMLQuantizationType.Q6_K)
"""The tensor types that can be imported."""


def shape_of(tensor: ReaderTensor) -> tuple[int, ...]:
    """Return the shape of a tensor, rows first."""
    return tuple(reversed(tensor.shape.tolist()))


def dense(tensor: ReaderTensor, dtype: mx.Dtype) -> mx.array:
    """Return a tensor dequantized to `dtype`; its type is one of TYPES."""
    kind = tensor.tensor_type
    parts = [mx.array(_values(kind, blocks)).astype(dtype) for blocks in _parts(tensor)]
    result = mx.concatenate(parts).reshape(shape_of(tensor))
    mx.eval(result)
    return result


def packed(tensor: ReaderTensor, scale_type: mx.Dtype) -> Packed:
    """Return a tensor still quantized; its type is one of TYPES, but not of PLAIN.

    `scale_type` is the type of the scales and biases.
    """
    kind = tensor.tensor_type
    if kind in _AFFINE:
        bits = _AFFINE[kind].bits
        parts = [_pack(kind, blocks) for blocks in _parts(tensor)]
        columns = [mx.concatenate(list(arrays)) for arrays in zip(*parts, strict=True)]
        weight, scales, biases = (array.reshape(*shape_of(tensor)[:-1], -1) for array in columns)
    else:
        bits = _REQUANTISED_BITS
        weight, scales, biases = mx.quantize(dense(tensor, mx.float32), GROUP_SIZE, bits)
    result = Packed(weight, scales.astype(scale_type), biases.astype(scale_type), bits)
    mx.eval(result.weight, result.scales, result.biases)
    return result


def _parts(tensor: ReaderTensor) -> Iterator[Bytes]:
    """Yield the blocks of a tensor, one a row, some at a time."""
    _, size = GGML_QUANT_SIZES[tensor.tensor_type]
    blocks = tensor.data.view(np.uint8).reshape(-1, size)
    step = _BYTES_AT_ONCE // size
    for start in range(0, len(blocks), step):
        yield blocks[start : start + step]


def _values(kind: GGMLQuantizationType, blocks: Bytes) -> Floats:
    # As one row, because the package loops over groups of 16 rows.
    return quants.dequantize(blocks.reshape(-1), kind)


def _pack(kind: GGMLQuantizationType, blocks: Bytes) -> tuple[mx.array, mx.array, mx.array]:
    bits, start, zero = _AFFINE[kind]
    unit = blocks.copy()
    unit[:, : len(start)] = np.frombuffer(start, np.uint8)
    codes = _values(kind, unit).astype(np.int8).view(np.uint8) + np.uint8(zero)
    words = _bit_stream(codes.reshape(len(blocks), -1), bits).view(np.uint32)
    scales = _half(blocks, 0)
    biases = -zero * scales if zero else _half(blocks, 2)
    if start == _K_UNIT:
        codes_of_scales, minimums = quants.Q4_K.get_scale_min(blocks[:, 4:16].copy())
        scales, biases = scales * codes_of_scales, -biases * minimums
    return mx.array(words), mx.array(scales), mx.array(biases)


def _half(blocks: Bytes, at: int) -> Floats:
    return blocks[:, at : at + 2].copy().view(np.float16).astype(np.float32)


def _bit_stream(codes: Bytes, bits: int) -> Bytes:
    if bits == 8:
        return codes
    if bits == 4:
        return codes[:, 0::2] | codes[:, 1::2] << _FOUR
    stream = np.unpackbits(codes[..., None], axis=-1, count=bits, bitorder="little")
    return np.packbits(stream.reshape(len(codes), -1), axis=-1, bitorder="little")
