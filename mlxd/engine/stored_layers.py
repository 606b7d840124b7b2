"""The keys, values and checkpoints of a node of the prompt cache as plain tensors, and back.

Tensors have no MLX in them, so that another thread can write and read them.
"""

import copy
from typing import Any

import mlx.core as mx
import msgspec
import numpy as np

from mlxd.engine.cache_layers import Blocks, Cache
from mlxd.engine.node_file import Tensor

LAYOUT = 1
"""To be raised when stored nodes mean something else."""
_BFLOAT16 = "bfloat16"


class NotStorable(Exception):
    """A checkpoint holds something that has no form on disk."""


class _Meta(msgspec.Struct, frozen=True):
    """What the tensors are: which layers are in which block, and the attributes of the others."""

    blocks: list[list[int]]
    checkpoint: list[dict[str, Any]] | None


def to_tensors(blocks: Blocks, checkpoint: Cache | None) -> tuple[dict[str, Tensor], str]:
    """Return the tensors by name, and a text that tells what they are.

    Raises:
        NotStorable: a layer of the checkpoint has an attribute of an unknown kind.
    """
    tensors: dict[str, Tensor] = {}
    for place, arrays in enumerate(blocks.values()):
        for number, array in enumerate(arrays):
            tensors[f"blocks.{place}.{number}"] = _to_tensor(array)
    attributes = None
    if checkpoint is not None:
        attributes = [
            {
                name: _packed(value, f"layers.{place}.{name}", tensors)
                for name, value in vars(layer).items()
            }
            for place, layer in enumerate(checkpoint)
        ]
    meta = _Meta([list(numbers) for numbers in blocks], attributes)
    return tensors, msgspec.json.encode(meta).decode()


def from_tensors(
    tensors: dict[str, Tensor], meta: str, empty: Cache
) -> tuple[Blocks, Cache | None]:
    """Return what `to_tensors` was given; `empty` has an empty layer for each of a checkpoint."""
    found = msgspec.json.decode(meta, type=_Meta)
    blocks: Blocks = {}
    for place, numbers in enumerate(found.blocks):
        count = sum(name.startswith(f"blocks.{place}.") for name in tensors)
        names = (f"blocks.{place}.{number}" for number in range(count))
        blocks[tuple(numbers)] = [_to_array(tensors[name]) for name in names]
    if found.checkpoint is None:
        return blocks, None
    checkpoint = []
    for layer, attributes in zip(empty, found.checkpoint, strict=True):
        filled = copy.copy(layer)
        filled.__dict__ = {name: _unpacked(each, tensors) for name, each in attributes.items()}
        checkpoint.append(filled)
    return blocks, checkpoint


def _packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, mx.array):
        tensors[name] = _to_tensor(value)
        return {"array": name}
    if isinstance(value, list | tuple):
        items = [_packed(each, f"{name}.{i}", tensors) for i, each in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise NotStorable(f"{name} is a {type(value).__name__}")


def _unpacked(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "array" in value:
            return _to_array(tensors[value["array"]])
        return tuple(_unpacked(each, tensors) for each in value["tuple"])
    if isinstance(value, list):
        return [_unpacked(each, tensors) for each in value]
    return value


def _to_tensor(array: mx.array) -> Tensor:
    dtype = str(array.dtype).rpartition(".")[2]
    plain = array.view(mx.uint16) if dtype == _BFLOAT16 else array
    data = memoryview(mx.contiguous(plain))  # type: ignore[arg-type]  # it has the protocol
    return Tensor(dtype, tuple(array.shape), data)


def _to_array(tensor: Tensor) -> mx.array:
    dtype = np.uint16 if tensor.dtype == _BFLOAT16 else np.dtype(tensor.dtype)
    array = mx.array(np.frombuffer(tensor.data, dtype).reshape(tensor.shape))
    return array.view(mx.bfloat16) if tensor.dtype == _BFLOAT16 else array
