"""Reading one candidate folder: the model in it, or why it cannot be used."""

import os
import stat
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mlxd.models.adapters import ADAPTER_WEIGHTS
from mlxd.models.architectures import Architectures
from mlxd.models.entry import CACHED_TOKENS, BrokenEntry, Candidate, CatalogEntry
from mlxd.models.model_config import read_config
from mlxd.models.weights import INDEX, Weights, is_weights, read_weights

CONFIG = "config.json"
_MAX_CONFIG_BYTES = 10_000_000
_PYTORCH = (".bin", ".pt", ".pth")
# Two changes within this time may leave the same timestamp.
_CLOCK_TICK_NS = 2_000_000_000


class _Stamp(NamedTuple):
    """What differs once a file has changed."""

    changed_ns: int
    size: int
    inode: int
    mode: int


class _Reading(msgspec.Struct, frozen=True):
    """What was found, and the stamps of the files it depends on."""

    found: CatalogEntry | BrokenEntry
    stamps: dict[Path, _Stamp | None]


class FolderReader:
    """Reads candidates, and reads one again only if its files have changed."""

    def __init__(self) -> None:
        self._architectures = Architectures()
        self._known: dict[Candidate, _Reading] = {}

    def read(self, candidate: Candidate) -> CatalogEntry | BrokenEntry | None:
        """Return the model in a folder, or what is wrong with it; None if the folder is empty."""
        known = self._known.get(candidate)
        if known is not None and all(_stamp(file) == stamp for file, stamp in known.stamps.items()):
            return known.found
        self._known.pop(candidate, None)
        if (reading := self._read(candidate)) is None:
            return None
        if _is_settled(reading):
            self._known[candidate] = reading
        return reading.found

    def _read(self, candidate: Candidate) -> _Reading | None:
        folder, file = candidate.folder, candidate.folder / CONFIG
        stamps = {path: _stamp(path) for path in (folder, file)}
        try:
            names = [name for name in os.listdir(folder) if not name.startswith(".")]
        except OSError:
            return None
        if not names:
            return None
        weights = read_weights(folder, names)
        stamps |= {path: _stamp(path) for path in (folder / INDEX, *weights.files)}
        try:
            found: CatalogEntry | BrokenEntry = self._model(candidate, names, weights)
        except _Unusable as error:
            found = BrokenEntry(
                id=candidate.id,
                path=folder,
                created=0,
                size_bytes=_total(folder, names),
                fault=str(error),
                stray=error.stray,
                origin=candidate.origin,
            )
        stamp = stamps[file] or stamps[folder]
        created = stamp.changed_ns // 1_000_000_000 if stamp else 0
        return _Reading(msgspec.structs.replace(found, created=created), stamps)

    def _model(self, candidate: Candidate, names: list[str], weights: Weights) -> CatalogEntry:
        if CONFIG not in names:
            raise _Unusable(_no_config(names), stray=True)
        config = read_config(_load(candidate.folder / CONFIG))
        if fault := self._architectures.fault(config):
            raise _Unusable(fault, stray=True)
        if not weights.files:
            raise _Unusable(_no_weights(names), stray=True)
        if weights.fault:
            raise _Unusable(f"partial: {weights.fault}")
        return CatalogEntry(
            id=candidate.id,
            path=candidate.folder,
            created=0,
            size_bytes=weights.size_bytes,
            architecture=config.architecture,
            quantization=config.quantization or weights.dtype,
            context_length=config.context_length,
            cache_bytes=config.cache_bytes(CACHED_TOKENS),
            origin=candidate.origin,
        )


class _Unusable(Exception):
    """The folder is not a usable model; `stray` as in BrokenEntry."""

    def __init__(self, message: str, *, stray: bool = False) -> None:
        super().__init__(message)
        self.stray = stray


def looks_like_model(names: list[str]) -> bool:
    """Return whether a folder with files of these names was meant to be a model."""
    return any(name in (CONFIG, INDEX) or is_weights(name) for name in names)


def _load(file: Path) -> dict[str, Any]:
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_CONFIG_BYTES:
            raise _Unusable("its config.json is not a regular file, or is too large")
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise _Unusable(f"its config.json cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Unusable(f"its config.json is not a JSON object: {error}") from error


def _no_config(names: list[str]) -> str:
    if gguf := next((name for name in sorted(names) if name.endswith(".gguf")), None):
        return f"not an MLX model: convert it with `mlxctl import …/{gguf}`"
    return "it has no config.json"


def _no_weights(names: list[str]) -> str:
    if ADAPTER_WEIGHTS in names:
        return "it is an adapter: move it to the adapters directory"
    if any(name.endswith(_PYTORCH) for name in names):
        return "not an MLX model: it has PyTorch weights, not safetensors"
    return "it has no weights (model*.safetensors)"


def _total(folder: Path, names: list[str]) -> int:
    """Return the size of the files in a folder, without its subfolders."""
    found = (_stamp(folder / name) for name in names)
    return sum(stamp.size for stamp in found if stamp and stat.S_ISREG(stamp.mode))


def _stamp(path: Path) -> _Stamp | None:
    """Return the stamp of a file; None if it is missing."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return _Stamp(found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode)


def _is_settled(reading: _Reading) -> bool:
    """Return whether any later change will leave another timestamp."""
    newest = max((stamp.changed_ns for stamp in reading.stamps.values() if stamp), default=0)
    return newest < time.time_ns() - _CLOCK_TICK_NS
