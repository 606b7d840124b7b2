"""Every tensor type, compared with llama.cpp's own dequantization."""

import mlx.core as mx
import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, ReaderField, ReaderTensor, quants

from mlxd.gguf.blocks import PLAIN, TYPES, Packed, dense, packed

# Where a block keeps its half-precision scales.
HALVES = {
    GGMLQuantizationType.Q4_0: [0],
    GGMLQuantizationType.Q4_1: [0, 2],
    GGMLQuantizationType.Q5_0: [0],
    GGMLQuantizationType.Q5_1: [0, 2],
    GGMLQuantizationType.Q8_0: [0],
    GGMLQuantizationType.Q4_K: [0, 2],
    GGMLQuantizationType.Q5_K: [0, 2],
    GGMLQuantizationType.Q6_K: [208],
}
KEPT = [kind for kind in HALVES if kind != GGMLQuantizationType.Q6_K]
SHAPE = (6, 512)


def random_tensor(kind: GGMLQuantizationType, shape: tuple[int, int] = SHAPE) -> ReaderTensor:
    """Any bytes are a valid block, as long as its scales are numbers."""
    elements, size = GGML_QUANT_SIZES[kind]
    random, count = np.random.default_rng(0), shape[0] * shape[1] // elements
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    for at in HALVES[kind]:
        scales = random.uniform(-0.02, 0.02, (count, 1)).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8)
    return tensor_of(kind, blocks.reshape(shape[0], -1), shape)


def tensor_of(kind: GGMLQuantizationType, data: np.ndarray, shape: tuple[int, int]) -> ReaderTensor:
    columns_first, field = np.array(shape[::-1], np.uint64), ReaderField(0, "a")
    return ReaderTensor("a", kind, columns_first, shape[0] * shape[1], data.nbytes, 0, data, field)


def reference(tensor: ReaderTensor) -> np.ndarray:
    return quants.dequantize(tensor.data, tensor.tensor_type)


def test_every_type_is_tested() -> None:
    assert {*HALVES, *PLAIN} == {*TYPES}


@pytest.mark.parametrize("kind", HALVES)
def test_dequantized_values_are_equal(kind: GGMLQuantizationType) -> None:
    tensor = random_tensor(kind)

    np.testing.assert_array_equal(np.array(dense(tensor, mx.float32)), reference(tensor))


@pytest.mark.parametrize("kind", KEPT)
def test_kept_quantization_holds_the_same_values(kind: GGMLQuantizationType) -> None:
    tensor = random_tensor(kind)

    kept = packed(tensor, mx.float32)

    assert kept.bits == int(kind.name[1])
    np.testing.assert_array_equal(_dequantized(kept), reference(tensor))


def test_a_large_tensor_is_converted_in_parts() -> None:
    tensor = random_tensor(GGMLQuantizationType.Q4_1, (1500, 1024))

    kept = packed(tensor, mx.float32)

    assert kept.scales.shape == (1500, 1024 // 32)
    np.testing.assert_array_equal(_dequantized(kept), reference(tensor))
    np.testing.assert_array_equal(np.array(dense(tensor, mx.float32)), reference(tensor))


def test_q6_k_is_quantized_again_to_8_bits() -> None:
    tensor = random_tensor(GGMLQuantizationType.Q6_K)

    kept = packed(tensor, mx.float32)

    assert kept.bits == 8
    exact = reference(tensor).reshape(-1, 32)
    error = np.abs(_dequantized(kept).reshape(-1, 32) - exact).max(axis=-1)
    spread = exact.max(axis=-1) - exact.min(axis=-1)
    assert (error <= spread / 200).all()


def test_scales_have_the_requested_type() -> None:
    kept = packed(random_tensor(GGMLQuantizationType.Q4_0), mx.float16)

    assert kept.scales.dtype == kept.biases.dtype == mx.float16


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_types_stay_as_they_are(kind: GGMLQuantizationType) -> None:
    values = np.array([[0.5, -1.25, 3.0]], np.float32)

    array = dense(tensor_of(kind, quants.quantize(values, kind), (1, 3)), PLAIN[kind])

    assert array.tolist() == values.tolist()


def _dequantized(kept: Packed) -> np.ndarray:
    weight, scales, biases, bits = kept
    return np.array(mx.dequantize(weight, scales, biases, group_size=32, bits=bits))
