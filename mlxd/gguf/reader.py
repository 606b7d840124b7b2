"""Reads a GGUF file with the `gguf` package: its metadata, and where each tensor is.

The package maps the file into memory and reads only the header. A damaged file is one clear error.
"""

import errno
import os
import stat
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from gguf import GGUFReader, ReaderField, ReaderTensor

from mlxd.errors import InvalidRequest

Metadata: TypeAlias = Mapping[str, object]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]

_Keys = TypeVar("_Keys")

_MOST_VALUES = 5_000_000  # large vocabularies need two million; each value costs 120 bytes
_MOST_TEXT = 256 * 1024**2  # bytes; large vocabularies need 20 million
_MOST_DIMENSIONS = 4  # as in ggml
_LONGEST_REASON = 300


class GGUFFile(msgspec.Struct, frozen=True):
    """An open GGUF file: its metadata, and its tensors by name."""

    metadata: Metadata
    tensors: dict[str, ReaderTensor]


def open_gguf(path: Path) -> GGUFFile:
    """Open a file and read its header.

    Raises:
        InvalidRequest: it is missing, not GGUF, of another version, damaged or cut short.
    """
    try:
        _check_kind(path)
        with np.errstate(all="raise"):
            reader = _BoundedReader(path)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror}") from error
    except (ArithmeticError, LookupError, RecursionError, ValueError) as error:
        reason = textwrap.shorten(str(error), _LONGEST_REASON)
        raise InvalidRequest(
            f"{path} is damaged, or is not a little-endian GGUF file of version 2 or 3: {reason}"
        ) from error
    return GGUFFile(metadata, {tensor.name: tensor for tensor in reader.tensors})


def _check_kind(path: Path) -> None:
    """Raise OSError if `path` is not a file; opening a pipe would wait for ever."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


class _BoundedReader(GGUFReader):
    """The package's reader, with an error at the end of the file, and limits for what it copies.

    Without them, an array with a false length or a long text takes all memory.
    """

    _values = _text = 0

    def _get(
        self,
        offset: int,
        dtype: npt.DTypeLike,
        count: int = 1,
        override_order: Literal["I", "S", "<"] | None = None,  # noqa: ARG002
    ) -> npt.NDArray[Any]:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise ValueError(f"it has more than {_MOST_VALUES:,} values")
        end = int(offset) + int(count) * np.dtype(dtype).itemsize
        if end > self.data.size:
            raise ValueError(f"it has {self.data.size:,} bytes, but needs {end:,}")
        return np.frombuffer(self.data, dtype, int(count), int(offset))

    def _get_str(self, offset: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
        length, text = super()._get_str(offset)
        self._text += text.size
        if self._text > _MOST_TEXT:
            raise ValueError(f"its keys and texts have more than {_MOST_TEXT >> 20} MB")
        return length, text

    def _get_tensor_info_field(self, orig_offs: int) -> ReaderField:
        name_length, _ = self._get_str(orig_offs)
        (dimensions,) = self._get(orig_offs + 8 + int(name_length[0]), np.uint32)
        if dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"a tensor has {dimensions:,} dimensions")
        return super()._get_tensor_info_field(orig_offs)


def read_keys(metadata: Metadata, prefix: str, kind: type[_Keys]) -> _Keys:
    """Return the keys that begin with `prefix`, such as `llama.`, as the struct `kind`.

    Raises:
        InvalidRequest: one is missing or has another type.
    """
    keys = {
        key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)
    }
    try:
        return msgspec.convert(keys, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the keys {prefix}* of the file are not valid: {error}") from None


def unsupported(key: str, value: object, allowed: str) -> InvalidRequest:
    """Return the error for a value that cannot be imported; `allowed` says what can."""
    found = f"a list of {len(value)} values" if isinstance(value, list) else f"{value!r:.60}"
    return InvalidRequest(f"{key} is {found}; {allowed} can be imported")
