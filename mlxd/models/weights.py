"""The weights of a model folder: which files there should be, and whether they are complete.

mlx_lm loads `model*.safetensors`. A safetensors file starts with the length of its header, 8 bytes
little-endian, and the header, a JSON object that says where each tensor is in the rest: https://huggingface.co/docs/safetensors.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import msgspec

INDEX = "model.safetensors.index.json"
_LENGTH_BYTES = 8
_MAX_HEADER = 100_000_000
_MAX_INDEX = 100_000_000
_NAMED = 2
_SHARD = re.compile(r"(model.*)-(\d{5})-of-(\d{5})\.safetensors")
_LFS_POINTER = b"version https://git-lfs"
_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class TensorInfo(msgspec.Struct, frozen=True):
    """One tensor of a header; `data_offsets` are where its bytes begin and end after the header."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]

    @property
    def size_bytes(self) -> int:
        """Its size in bytes."""
        return self.data_offsets[1] - self.data_offsets[0]


class Weights(msgspec.Struct, frozen=True):
    """The files there should be, and the total size of those there are.

    `fault` says which are missing or damaged. `dtype` is the type of most of the bytes, unless it
    is one of packed numbers.
    """

    files: tuple[Path, ...]
    size_bytes: int
    dtype: str | None
    fault: str | None


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


class Damaged(Exception):
    """A file is damaged; the message follows its name."""


def read_weights(folder: Path, found: Collection[str]) -> Weights:
    """Read the headers of the weights of `folder`, which holds the files `found`."""
    present = {name for name in found if is_weights(name)}
    try:
        expected = _indexed(folder / INDEX) if INDEX in found else _numbered(present)
    except Damaged as error:
        return _weights(folder, present, Counter(), f"{INDEX} {error}")
    bytes_of_types: Counter[str] = Counter()
    faults: list[str] = []
    names = present | expected
    for name in sorted(names):
        try:
            for tensor in read_header(folder / name).values():
                bytes_of_types[tensor.dtype] += tensor.size_bytes
        except Damaged as error:
            faults.append(f"{name} {error}")
    fault = _summary(faults, len(names))
    return _weights(folder, names, bytes_of_types, fault)


def is_weights(name: str) -> bool:
    """Return whether mlx_lm would load a file of that name."""
    return name.startswith("model") and name.endswith(".safetensors")


def read_tensors(files: Iterable[Path]) -> dict[str, TensorInfo]:
    """Return the tensors of all `files` by name, without those of damaged files."""
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        try:
            tensors |= read_header(file)
        except Damaged:
            continue
    return tensors


def read_header(file: Path) -> Mapping[str, TensorInfo]:
    """Return the tensors of a file by name.

    Raises:
        Damaged: it is missing, cut short, or not a safetensors file.
    """
    try:
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            first = stream.read(_LENGTH_BYTES)
            length = int.from_bytes(first, "little")
            if length > _MAX_HEADER or len(first) < _LENGTH_BYTES:
                raise Damaged(_what_it_is(first + stream.read(len(_LFS_POINTER)), size))
            header = stream.read(length)
    except FileNotFoundError as error:
        raise Damaged("is missing") from error
    except OSError as error:
        raise Damaged(f"cannot be read: {error.strerror}") from error
    if len(header) < length:
        raise Damaged("is cut short")
    try:
        parts = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        parts.pop("__metadata__", None)
        tensors = {name: msgspec.json.decode(part, type=TensorInfo) for name, part in parts.items()}
    except (msgspec.DecodeError, RecursionError) as error:
        raise Damaged("is not a safetensors file") from error
    end = max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if (whole := _LENGTH_BYTES + length + end) > size:
        raise Damaged(f"is cut short: {size} of {whole} bytes")
    return tensors


def _what_it_is(start: bytes, size: int) -> str:
    if size == 0:
        return "is empty"
    if start.startswith(_LFS_POINTER):
        return "is a Git LFS pointer. Run: git lfs pull"
    return "is cut short" if size < _LENGTH_BYTES else "is not a safetensors file"


def _indexed(file: Path) -> set[str]:
    """Return the names in an index."""
    try:
        if file.stat().st_size > _MAX_INDEX:
            raise Damaged("is too large")
        names = set(msgspec.json.decode(file.read_bytes(), type=_Index).weight_map.values())
    except OSError as error:
        raise Damaged(f"cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise Damaged("is not a valid index") from error
    if any("/" in name or not name.isprintable() for name in names):
        raise Damaged("names files outside the folder")
    return names


def _numbered(present: Iterable[str]) -> set[str]:
    """Return the names of all parts, which follow from that of any part: it has their number."""
    names: set[str] = set()
    for name in present:
        if part := _SHARD.fullmatch(name):
            stem, _, count = part.groups()
            names |= {
                f"{stem}-{number:05}-of-{count}.safetensors" for number in range(1, int(count) + 1)
            }
    return names


def _summary(faults: list[str], count: int) -> str | None:
    if not faults or count == 1:
        return faults[0] if faults else None
    named = ", ".join(faults[:_NAMED]) + (", …" if len(faults) > _NAMED else "")
    return f"{len(faults)} of {count} weight files are missing or damaged: {named}"


def _weights(
    folder: Path, names: set[str], bytes_of_types: Counter[str], fault: str | None
) -> Weights:
    files = tuple(folder / name for name in sorted(names))
    most = bytes_of_types.most_common(1)
    dtype = _TYPES.get(most[0][0]) if most else None
    return Weights(files, sum(map(_size, files)), dtype, fault)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
