"""The weights of a model folder: which files there should be, and whether they are complete.

mlx_lm loads every `model*.safetensors`. Such a file starts with the length of its header, 8 bytes
little-endian, and the header, a JSON object that says where each tensor is in the rest: https://huggingface.co/docs/safetensors.

mlx_lm never reads the index. One that names none of the files is left over from other weights, as
of the model before it was quantized; one that names some of them tells which are missing.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from mlxd.files import open_regular, out_of_files
from mlxd.models.model_config import UnusableJson, has_too_many_values, load_json

INDEX = "model.safetensors.index.json"
_LENGTH_BYTES = 8
_MAX_HEADER = 100_000_000
_NAMED = 2
_MAX_PARTS = 10_000
_MAX_SERIES = 10
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


def read_weights(folder: Path, found: Iterable[str]) -> Weights:
    """Read the headers of the weights of `folder`, which holds the files `found`."""
    present = {name for name in found if is_weights(name)}
    names = present | missing_weights(folder, present)
    bytes_of_types: Counter[str] = Counter()
    size = 0
    faults: list[str] = []
    for name in sorted(names):
        try:
            tensors, file_size = _read_header(folder / name)
        except Damaged as error:
            faults.append(f"{name} {error}")
            continue
        size += file_size
        for tensor in tensors.values():
            begin, end = tensor.data_offsets
            bytes_of_types[tensor.dtype] += end - begin
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
            tensors |= _read_header(file)[0]
        except Damaged:
            continue
    return tensors


def _read_header(file: Path) -> tuple[dict[str, TensorInfo], int]:
    """Return the tensors of a file by name, and its size.

    Raises:
        Damaged: it is missing, cut short, or not a safetensors file.
    """
    try:
        with open_regular(file) as stream:
            size = os.fstat(stream.fileno()).st_size
            first = stream.read(_LENGTH_BYTES)
            length = int.from_bytes(first, "little")
            if length > _MAX_HEADER or len(first) < _LENGTH_BYTES:
                raise Damaged(_what_it_is(first + stream.read(len(_LFS_POINTER)), size))
            header = stream.read(length)
    except FileNotFoundError as error:
        raise Damaged("is missing") from error
    except OSError as error:
        if out_of_files(error):
            raise
        raise Damaged(f"cannot be read: {error.strerror}") from error
    if len(header) < length:
        raise Damaged("is cut short")
    if has_too_many_values(header):
        raise Damaged("has too many tensors")
    try:
        parts = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        parts.pop("__metadata__", None)
        tensors = {name: msgspec.json.decode(part, type=TensorInfo) for name, part in parts.items()}
    except (msgspec.DecodeError, RecursionError) as error:
        raise Damaged("is not a safetensors file") from error
    end = max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if (whole := _LENGTH_BYTES + length + end) > size:
        raise Damaged(f"is cut short: {size} of {whole} bytes")
    return tensors, size


def _what_it_is(start: bytes, size: int) -> str:
    if size == 0:
        return "is empty"
    if start.startswith(_LFS_POINTER):
        return "is a Git LFS pointer. Run: git lfs pull"
    return "is cut short" if size < _LENGTH_BYTES else "is not a safetensors file"


def missing_weights(folder: Path, present: Collection[str]) -> set[str]:
    """Return the weights that belong to those that are present, and are not.

    They follow from the name of any part, which has the number of all, and from the files that the
    index in `folder` names.
    """
    series = {part.group(1, 3) for name in present if (part := _PART.fullmatch(name))}
    parts = {
        f"{stem}-{number:05}-of-{count}.safetensors"
        for stem, count in sorted(series)[:_MAX_SERIES]
        for number in range(1, min(int(count), _MAX_PARTS) + 1)
    }
    indexed = _indexed(folder)
    if not indexed.isdisjoint(present):
        parts.update(sorted(indexed)[:_MAX_PARTS])
    return parts.difference(present)


def _indexed(folder: Path) -> set[str]:
    """Return the weights that a folder's index names, none if it cannot be read."""
    try:
        files = load_json(folder / INDEX).get("weight_map")
    except UnusableJson:
        return set()
    names = files.values() if isinstance(files, dict) else ()
    return {name for name in names if isinstance(name, str) and is_weights(name)}


def _summary(faults: list[str], count: int) -> str | None:
    if not faults or count == 1:
        return faults[0] if faults else None
    named = ", ".join(faults[:_NAMED]) + (", …" if len(faults) > _NAMED else "")
    return f"{len(faults)} of {count} weight files are missing or damaged: {named}"
