"""The GGUF file format: metadata, and where each tensor is.

Every length is checked before it is used, so a damaged file is an error and never a crash.

Source: the GGUF specification, docs/gguf.md of the ggml project. Versions 2 and 3, little-endian.
"""

import math
import struct
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from mlxd.errors import InvalidRequest
from mlxd.gguf.blocks import LAYOUTS

Scalar: TypeAlias = int | float | bool | str
Value: TypeAlias = Scalar | list[int] | list[float] | list[bool] | list[str]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_MAX_DIMENSIONS = 4
_DEFAULT_ALIGNMENT = 32


class GGUFTensor(msgspec.Struct, frozen=True):
    """Where a tensor is; `shape` is rows first, `offset` counts from the start of the file."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int


class Container:
    """An open GGUF file, its data mapped into memory."""

    def __init__(
        self,
        metadata: dict[str, Value],
        tensors: dict[str, GGUFTensor],
        data: npt.NDArray[np.uint8],
    ) -> None:
        self.metadata = metadata
        self.tensors = tensors
        self._data = data

    def blocks(self, tensor: GGUFTensor) -> npt.NDArray[np.uint8]:
        """Return the bytes of `tensor`, one block a row; its type must be in `blocks.LAYOUTS`."""
        layout = LAYOUTS[tensor.type]
        count = math.prod(tensor.shape) // layout.elements
        end = tensor.offset + count * layout.size
        return self._data[tensor.offset : end].reshape(count, layout.size)


def open_container(path: Path) -> Container:
    """Open a file and read its header.

    Raises:
        InvalidRequest: it is missing, not GGUF, of another version, damaged or cut short.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
        if magic != _MAGIC:
            raise InvalidRequest(f"{path} is not a GGUF file: it does not start with GGUF")
        data = np.memmap(path, dtype=np.uint8, mode="r")
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror}") from error
    cursor = _Cursor(path, data.data, len(_MAGIC))
    version = cursor.integer("<I")
    if version not in _VERSIONS:
        raise InvalidRequest(
            f"{path} is of GGUF version {version} or big-endian; "
            "versions 2 and 3, little-endian, can be imported"
        )
    tensor_count, value_count = cursor.integer("<Q"), cursor.integer("<Q")
    metadata: dict[str, Value] = {}
    for _ in range(value_count):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.integer("<I"))
    infos = [cursor.tensor() for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment <= 0:
        raise cursor.damaged(f"general.alignment is {alignment!r}")
    start = -(-cursor.offset // alignment) * alignment
    tensors = {
        info.name: msgspec.structs.replace(info, offset=start + info.offset) for info in infos
    }
    for tensor in tensors.values():
        _check_extent(path, tensor, size)
    return Container(metadata, tensors, data)


def _check_extent(path: Path, tensor: GGUFTensor, file_size: int) -> None:
    layout = LAYOUTS.get(tensor.type)
    if layout is None:
        return
    if 0 in tensor.shape or tensor.shape[-1] % layout.elements:
        raise InvalidRequest(
            f"{path} is damaged: {tensor.name} has the shape {list(tensor.shape)}, "
            f"{layout.name} comes in blocks of {layout.elements}"
        )
    end = tensor.offset + math.prod(tensor.shape) // layout.elements * layout.size
    if end > file_size:
        raise InvalidRequest(
            f"{path} is cut short: {tensor.name} ends at byte {end}, the file at {file_size}"
        )


class _Cursor:
    """Reads one value after the other."""

    def __init__(self, path: Path, data: memoryview, offset: int) -> None:
        self.offset = offset
        self._path = path
        self._data = data

    def damaged(self, what: str) -> InvalidRequest:
        return InvalidRequest(f"{self._path} is damaged: {what} (at byte {self.offset})")

    def integer(self, kind: str) -> int:
        return int(self._scalar(kind))

    def string(self) -> str:
        raw = self._take(self.integer("<Q"))
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged("a string is not UTF-8") from error

    def value(self, kind: int) -> Value:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self._array()
        if kind not in _SCALARS:
            raise self.damaged(f"a value is of the unknown type {kind}")
        return self._scalar(_SCALARS[kind])

    def tensor(self) -> GGUFTensor:
        name = self.string()
        dimensions = self.integer("<I")
        if not 0 < dimensions <= _MAX_DIMENSIONS:
            raise self.damaged(f"the tensor {name!r} has {dimensions} dimensions")
        columns_first = [self.integer("<Q") for _ in range(dimensions)]
        kind = self.integer("<I")
        return GGUFTensor(name, tuple(reversed(columns_first)), kind, self.integer("<Q"))

    def _array(self) -> Value:
        kind, length = self.integer("<I"), self.integer("<Q")
        if kind == _STRING:
            self._check_left(length * struct.calcsize("<Q"))
            return [self.string() for _ in range(length)]
        if kind not in _SCALARS:
            raise self.damaged(f"an array is of the unknown type {kind}")
        dtype = np.dtype(_SCALARS[kind])
        values: list[int] = np.frombuffer(self._take(length * dtype.itemsize), dtype).tolist()
        return values

    def _scalar(self, kind: str) -> int | float | bool:
        value: int | float | bool = struct.unpack(kind, self._take(struct.calcsize(kind)))[0]
        return value

    def _take(self, size: int) -> memoryview:
        self._check_left(size)
        self.offset += size
        return self._data[self.offset - size : self.offset]

    def _check_left(self, size: int) -> None:
        if size > len(self._data) - self.offset:
            raise InvalidRequest(
                f"{self._path} is cut short: {size} more bytes expected at byte {self.offset}, "
                f"the file ends at {len(self._data)}"
            )
