"""What the key-value caches of a model depend on, as a short name.

Two engines with the same fingerprint compute the same caches from the same tokens, so that one may
use what the other has kept on disk.
"""

import hashlib
import os
from importlib import metadata
from pathlib import Path
from typing import BinaryIO

import msgspec

from mlxd.engine.node_file import FORMAT

_TEMPLATES = "additional_chat_templates"
_WHOLE_BYTES = 64 * 2**20
_START_BYTES = 2**20
_SAMPLE_BYTES = 4096
_SAMPLES = 16


def fingerprint(
    model: Path, adapter: Path | None = None, **settings: str | int | float | None
) -> str:
    """Return 32 hexadecimal digits for a model folder, an adapter folder, and how they are run.

    They depend on mlx-lm's version, on the format of the files on disk, on `settings` (those that
    change what a cache holds, such as its bits), and on all files of the folders but hidden ones
    and Markdown; not on where the folders are, nor on mlxd's version. Of a file over 64 MiB only
    its size, its time, its first MiB and samples count, so that 100 GB take a moment.

    Raises:
        OSError: a file cannot be read.
    """
    facts = {
        "format": FORMAT,
        "mlx-lm": metadata.version("mlx-lm"),
        "settings": settings,
        "model": _files(model),
        "adapter": _files(adapter) if adapter else None,
    }
    encoded = msgspec.json.encode(facts, order="sorted")
    return hashlib.sha256(encoded).hexdigest()[:32]


def _files(folder: Path) -> dict[str, str]:
    """Return the names of a folder's files, and what stands for their content."""
    files = [*folder.iterdir(), *(folder / _TEMPLATES).glob("*")]
    return {
        str(file.relative_to(folder)): _content(file)
        for file in files
        if not file.name.startswith(".") and file.suffix != ".md" and file.is_file()
    }


def _content(file: Path) -> str:
    with file.open("rb") as stream:
        found = os.fstat(stream.fileno())
        if found.st_size <= _WHOLE_BYTES:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        return f"{found.st_size} {found.st_mtime_ns} {_sampled(stream, found.st_size)}"


def _sampled(stream: BinaryIO, size: int) -> str:
    """Return a hash of the beginning, where safetensors files describe themselves, and samples."""
    digest = hashlib.sha256(stream.read(_START_BYTES))
    for number in range(1, _SAMPLES + 1):
        stream.seek((size - _SAMPLE_BYTES) * number // _SAMPLES)
        digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()
