"""Every tensor type, compared with llama.cpp's own dequantisation."""

import mlx.core as mx
import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants

from mlxd.gguf.blocks import LAYOUTS, Packed, as_stored, dense

# Where a block keeps its half-precision scales.
HALVES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}
KINDS = {layout.name: kind for kind, layout in LAYOUTS.items()}
SHAPE = (6, 512)


def random_blocks(name: str) -> np.ndarray:
    """Any bytes are a valid block, as long as its scales are numbers."""
    layout, random = LAYOUTS[KINDS[name]], np.random.default_rng(0)
    count = SHAPE[0] * SHAPE[1] // layout.elements
    blocks = random.integers(0, 256, (count, layout.size), dtype=np.uint8)
    for at in HALVES[name]:
        scales = random.uniform(-0.02, 0.02, (count, 1)).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8)
    return blocks


def reference(name: str, blocks: np.ndarray) -> np.ndarray:
    rows = blocks.reshape(SHAPE[0], -1)
    return quants.dequantize(rows, GGMLQuantizationType(KINDS[name]))


@pytest.mark.parametrize("name", HALVES)
def test_dequantised_values_are_equal(name: str) -> None:
    blocks = random_blocks(name)

    values = dense(KINDS[name], SHAPE, blocks, mx.float32)

    np.testing.assert_array_equal(np.array(values), reference(name, blocks))


@pytest.mark.parametrize("name", [name for name in HALVES if name != "Q6_K"])
def test_kept_quantisation_holds_the_same_values(name: str) -> None:
    blocks = random_blocks(name)

    packed = as_stored(KINDS[name], SHAPE, blocks, mx.float32)

    assert isinstance(packed, Packed)
    assert packed.bits == int(name[1])
    np.testing.assert_array_equal(_dequantised(packed), reference(name, blocks))


def test_q6_k_is_quantised_again_to_8_bits() -> None:
    blocks = random_blocks("Q6_K")

    packed = as_stored(KINDS["Q6_K"], SHAPE, blocks, mx.float32)

    assert isinstance(packed, Packed)
    assert packed.bits == 8
    exact = reference("Q6_K", blocks).reshape(-1, 32)
    error = np.abs(_dequantised(packed).reshape(-1, 32) - exact).max(axis=-1)
    spread = exact.max(axis=-1) - exact.min(axis=-1)
    assert (error <= spread / 200).all()


def test_scales_have_the_requested_type() -> None:
    packed = as_stored(KINDS["Q4_0"], SHAPE, random_blocks("Q4_0"), mx.float16)

    assert isinstance(packed, Packed)
    assert packed.scales.dtype == packed.biases.dtype == mx.float16


@pytest.mark.parametrize(
    ("name", "dtype"), [("F32", mx.float32), ("F16", mx.float16), ("BF16", mx.bfloat16)]
)
def test_plain_types_stay_as_they_are(name: str, dtype: mx.Dtype) -> None:
    values = np.array([[0.5, -1.25, 3.0]], np.float32)
    blocks = quants.quantize(values, GGMLQuantizationType(KINDS[name])).view(np.uint8)

    array = as_stored(KINDS[name], (1, 3), blocks.reshape(3, -1), mx.float32)

    assert isinstance(array, mx.array)
    assert array.dtype == dtype
    assert array.tolist() == values.tolist()


def _dequantised(packed: Packed) -> np.ndarray:
    weight, scales, biases, bits = packed
    return np.array(mx.dequantize(weight, scales, biases, group_size=32, bits=bits))
