"""One node of the prompt cache as the bytes of a file, protected by a checksum.

A file has the safetensors format: the length of the header (8 bytes, little-endian), the header in
JSON, the bytes of the tensors. The header begins with the SHA-256 of the whole file, computed with
zeros in its own place; so no bit of a file can change unnoticed, its length included. Everything
that identifies the node is in the header too: a file that is intact, but not the one that was asked
for, is noticed as well.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mlxd.prompt_files import NodeFile

FORMAT = "mlxd-prompt-1"
"""To be changed when files written before can no longer be read, or mean something else."""

Buffer = bytes | bytearray | memoryview

_LENGTH_BYTES = 8
_ALIGNMENT = 8
_METADATA = "__metadata__"
_HEADER_START = b'{"__metadata__":{"sha256":"'
_DIGEST_BYTES = 64
_NO_DIGEST = "0" * _DIGEST_BYTES
_DIGEST = slice(
    _LENGTH_BYTES + len(_HEADER_START), _LENGTH_BYTES + len(_HEADER_START) + _DIGEST_BYTES
)
_DTYPES = {
    "bool": ("BOOL", 1),
    "uint8": ("U8", 1),
    "int8": ("I8", 1),
    "uint16": ("U16", 2),
    "int16": ("I16", 2),
    "float16": ("F16", 2),
    "bfloat16": ("BF16", 2),
    "uint32": ("U32", 4),
    "int32": ("I32", 4),
    "float32": ("F32", 4),
    "uint64": ("U64", 8),
    "int64": ("I64", 8),
    "float64": ("F64", 8),
    "complex64": ("C64", 8),
}
_NAMES = {code: name for name, (code, _) in _DTYPES.items()}


class DamagedNode(Exception):
    """A file is not the node that was asked for; the message follows the file's name."""


@dataclass(frozen=True)
class Tensor:
    """An array without MLX: `dtype` as MLX names it ("bfloat16"), and its bytes in row-major order.

    Raises:
        ValueError: the type is unknown, or the buffer has gaps or another size than the shape.
    """

    dtype: str
    shape: tuple[int, ...]
    data: Buffer = field(repr=False)

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise ValueError(f"unknown dtype {self.dtype}")
        if isinstance(self.data, memoryview) and not self.data.c_contiguous:
            raise ValueError("the buffer is not in row-major order")
        if self.nbytes != math.prod(self.shape) * _DTYPES[self.dtype][1]:
            raise ValueError(f"{self.nbytes} bytes are not {self.dtype}{list(self.shape)}")

    @property
    def nbytes(self) -> int:
        """The number of bytes."""
        return self.data.nbytes if isinstance(self.data, memoryview) else len(self.data)


@dataclass(frozen=True)
class StoredNode:
    """A node as it is on disk.

    `parent` is the key of its parent, empty at the beginning of a prompt; `start` is how many
    tokens come before its own. `meta` is for whoever made the tensors.

    Raises:
        ValueError: a tensor has a name that the format reserves.
    """

    key: bytes
    parent: bytes
    tokens: tuple[int, ...]
    start: int
    tensors: dict[str, Tensor]
    meta: str = ""

    def __post_init__(self) -> None:
        if _METADATA in self.tensors:
            raise ValueError(f"a tensor cannot be named {_METADATA}")

    @property
    def file(self) -> NodeFile:
        """What the name of its file says."""
        return NodeFile(self.key, self.parent, len(self.tokens))

    @property
    def nbytes(self) -> int:
        """About how many bytes it takes in memory and on disk."""
        return sum(tensor.nbytes for tensor in self.tensors.values()) + 8 * len(self.tokens) + 1024


class _Metadata(msgspec.Struct, frozen=True):
    """The header's metadata, all of it text, as safetensors wants it."""

    sha256: str
    format: str
    fingerprint: str
    key: str
    parent: str
    start: str
    tokens: str
    meta: str


class _Part(msgspec.Struct, frozen=True):
    """Where a tensor's bytes begin and end after the header."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def encode(node: StoredNode, fingerprint: str) -> list[Buffer]:
    """Return the pieces of a node's file, in order; those of the tensors are not copied."""
    header: dict[str, Any] = {
        _METADATA: _Metadata(
            sha256=_NO_DIGEST,
            format=FORMAT,
            fingerprint=fingerprint,
            key=node.key.hex(),
            parent=node.parent.hex(),
            start=str(node.start),
            tokens=msgspec.json.encode(node.tokens).decode(),
            meta=node.meta,
        )
    }
    pieces: list[Buffer] = []
    end = 0
    # The widest numbers come first, so that each tensor is aligned.
    for name, tensor in sorted(node.tensors.items(), key=lambda item: -_DTYPES[item[1].dtype][1]):
        begin, end = end, end + tensor.nbytes
        code, _ = _DTYPES[tensor.dtype]
        header[name] = _Part(code, list(tensor.shape), (begin, end))
        if tensor.nbytes:  # memoryview cannot cast nothing
            pieces.append(memoryview(tensor.data).cast("B"))
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % _ALIGNMENT)
    head = bytearray(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
    head[_DIGEST] = _digest([head, *pieces])
    return [head, *pieces]


def decode(data: bytes, fingerprint: str, file: NodeFile) -> StoredNode:
    """Return the node in the content of its `file`; its tensors share the memory of `data`.

    Raises:
        DamagedNode: the content is not what was written, or is not that of `file`.
    """
    view = memoryview(data)
    if len(view) < _DIGEST.stop:
        raise DamagedNode("is cut short")
    pieces: list[Buffer] = [view[: _DIGEST.start], _NO_DIGEST.encode(), view[_DIGEST.stop :]]
    if view[_DIGEST] != _digest(pieces):
        raise DamagedNode("does not match its checksum")
    try:
        return _decode(view, fingerprint, file)
    except (msgspec.DecodeError, ValueError, KeyError) as error:
        raise DamagedNode("has another format") from error


def _decode(view: memoryview, fingerprint: str, file: NodeFile) -> StoredNode:
    begin = _LENGTH_BYTES + int.from_bytes(view[:_LENGTH_BYTES], "little")
    parts = msgspec.json.decode(view[_LENGTH_BYTES:begin], type=dict[str, msgspec.Raw])
    found = msgspec.json.decode(parts.pop(_METADATA), type=_Metadata)
    if found.format != FORMAT:
        raise DamagedNode(f"has the format {found.format}")
    if found.fingerprint != fingerprint:
        raise DamagedNode("belongs to another model")
    tensors = {}
    for name, raw in parts.items():
        part = msgspec.json.decode(raw, type=_Part)
        first, last = part.data_offsets
        data = view[begin + first : begin + last]
        tensors[name] = Tensor(_NAMES[part.dtype], tuple(part.shape), data)
    node = StoredNode(
        key=bytes.fromhex(found.key),
        parent=bytes.fromhex(found.parent),
        tokens=msgspec.json.decode(found.tokens, type=tuple[int, ...]),
        start=int(found.start),
        tensors=tensors,
        meta=found.meta,
    )
    if node.file != file:
        raise DamagedNode("holds another node")
    return node


def _digest(pieces: Sequence[Buffer]) -> bytes:
    """Return the SHA-256 of all pieces, in hexadecimal."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest().encode()
