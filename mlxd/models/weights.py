"""The weights of a model folder: which files there should be, and whether they are complete.

mlx_lm loads every `model*.safetensors`. Such a file starts with the length of its header, 8 bytes
little-endian, and the header, a JSON object that says where each tensor is in the rest: https://huggingface.co/docs/safetensors.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import msgspec

_LENGTH_BYTES = 8
_MAX_HEADER = 100_000_000
_NAMED = 2
_REMEMBERED = 4096
_PART = re.compile(r"(model.*)-(\d{5})-of-(\d{5})\.safetensors")
_LFS_POINTER = b"version https://git-lfs"
_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class TensorInfo(msgspec.Struct, frozen=True):
    """One tensor of a header; `data_offsets` are where its bytes begin and end after the header."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class Weights(msgspec.Struct, frozen=True):
    """The total size of the complete files; `fault` says which are missing or damaged.

    `dtype` is the type of most of the bytes, unless it is one of packed numbers.
    """

    size_bytes: int
    dtype: str | None
    fault: str | None


class Damaged(Exception):
    """A file is damaged; the message follows its name."""


class WeightsReader:
    """Reads weights; the header of a file is read again only if the file has changed."""

    def __init__(self) -> None:
        self._bytes_of_types = lru_cache(_REMEMBERED)(_bytes_of_types)

    def read(self, folder: Path, found: Collection[str]) -> Weights:
        """Return the weights of `folder`, which holds the files `found`."""
        present = {name for name in found if is_weights(name)}
        names = present | _all_parts(present)
        bytes_of_types: Counter[str] = Counter()
        size = 0
        faults: list[str] = []
        for name in sorted(names):
            try:
                now = (folder / name).stat()
                stamp = (now.st_mtime_ns, now.st_ino, now.st_size)
                bytes_of_types.update(self._bytes_of_types(folder / name, stamp))
                size += now.st_size
            except OSError as error:
                faults.append(f"{name} {_unreadable(error)}")
            except Damaged as error:
                faults.append(f"{name} {error}")
        dtype = _TYPES.get(max(bytes_of_types, key=bytes_of_types.__getitem__, default=""))
        return Weights(size, dtype, _summary(faults, len(names)))


def is_weights(name: str) -> bool:
    """Return whether mlx_lm would load a file of that name."""
    return name.startswith("model") and name.endswith(".safetensors") and "/" not in name


def read_tensors(files: Iterable[Path]) -> dict[str, TensorInfo]:
    """Return the tensors of all `files` by name, without those of damaged files."""
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        try:
            tensors |= _read_header(file)
        except Damaged:
            continue
    return tensors


def _bytes_of_types(file: Path, stamp: tuple[int, int, int]) -> Mapping[str, int]:  # noqa: ARG001
    """Return how many bytes of each type a file holds; `stamp` changes when the file does."""
    counted: Counter[str] = Counter()
    for tensor in _read_header(file).values():
        begin, end = tensor.data_offsets
        counted[tensor.dtype] += end - begin
    return counted


def _read_header(file: Path) -> dict[str, TensorInfo]:
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
    except OSError as error:
        raise Damaged(_unreadable(error)) from error
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


def _unreadable(error: OSError) -> str:
    missing = isinstance(error, FileNotFoundError)
    return "is missing" if missing else f"cannot be read: {error.strerror}"


def _what_it_is(start: bytes, size: int) -> str:
    if size == 0:
        return "is empty"
    if start.startswith(_LFS_POINTER):
        return "is a Git LFS pointer. Run: git lfs pull"
    return "is cut short" if size < _LENGTH_BYTES else "is not a safetensors file"


def _all_parts(present: Iterable[str]) -> set[str]:
    """Return the names of all parts, which follow from that of any part: it has their number."""
    names: set[str] = set()
    for name in present:
        if part := _PART.fullmatch(name):
            stem, _, count = part.groups()
            numbers = range(1, int(count) + 1)
            names |= {f"{stem}-{number:05}-of-{count}.safetensors" for number in numbers}
    return names


def _summary(faults: list[str], count: int) -> str | None:
    if not faults or count == 1:
        return faults[0] if faults else None
    named = ", ".join(faults[:_NAMED]) + (", …" if len(faults) > _NAMED else "")
    return f"{len(faults)} of {count} weight files are missing or damaged: {named}"
