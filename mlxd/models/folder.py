"""One model folder: what it holds, and why it cannot be used, read anew only when it changed."""

import os
import stat
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mlxd.models.architectures import Architectures
from mlxd.models.entry import ADAPTER_WEIGHTS, CACHED_TOKENS, BrokenEntry, CatalogEntry, Origin
from mlxd.models.model_config import read_config
from mlxd.models.weights import INDEX, Weights, is_weights, read_weights

CONFIG = "config.json"
_MAX_CONFIG_BYTES = 10_000_000
_PYTORCH = (".bin", ".pt", ".pth")
# Changes that are nearer together may leave one and the same time on a file.
_CLOCK_TICK_NS = 2_000_000_000


class _Stamp(NamedTuple):
    """What changes when a file does."""

    changed_ns: int
    size: int
    inode: int
    mode: int


class Place(msgspec.Struct, frozen=True):
    """A folder that may be a model, and the id that the model in it has."""

    id: str
    folder: Path
    origin: Origin


class _Reading(msgspec.Struct, frozen=True):
    """What was read, and the files it depends on as they were."""

    found: CatalogEntry | BrokenEntry
    stamps: dict[Path, _Stamp | None]


class FolderReader:
    """Reads folders, and remembers what it read."""

    def __init__(self) -> None:
        self._architectures = Architectures()
        self._known: dict[Place, _Reading] = {}

    def read(self, place: Place) -> CatalogEntry | BrokenEntry | None:
        """Give the model in a folder, or what is wrong with it; None when there is no folder."""
        known = self._known.get(place)
        if known is not None and all(_stamp(file) == stamp for file, stamp in known.stamps.items()):
            return known.found
        self._known.pop(place, None)
        if (reading := self._read(place)) is None:
            return None
        if not _may_change_unseen(reading):
            self._known[place] = reading
        return reading.found

    def _read(self, place: Place) -> _Reading | None:
        folder, file = place.folder, place.folder / CONFIG
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
            found: CatalogEntry | BrokenEntry = self._model(place, names, weights)
        except _Unusable as error:
            found = BrokenEntry(
                id=place.id,
                path=folder,
                created=0,
                size_bytes=_total(folder, names),
                fault=str(error),
                stray=error.stray,
                origin=place.origin,
            )
        stamp = stamps[file] or stamps[folder]
        created = stamp.changed_ns // 1_000_000_000 if stamp else 0
        return _Reading(msgspec.structs.replace(found, created=created), stamps)

    def _model(self, place: Place, names: list[str], weights: Weights) -> CatalogEntry:
        if CONFIG not in names:
            raise _Unusable(_no_config(names), stray=True)
        says = read_config(_load(place.folder / CONFIG))
        if fault := self._architectures.fault(says):
            raise _Unusable(fault, stray=True)
        if not weights.files:
            raise _Unusable(_no_weights(names), stray=True)
        if weights.fault:
            raise _Unusable(f"partial: {weights.fault}")
        return CatalogEntry(
            id=place.id,
            path=place.folder,
            created=0,
            size_bytes=weights.size_bytes,
            architecture=says.architecture,
            quantization=says.quantization or weights.dtype,
            context_length=says.context_length,
            cache_bytes=says.cache_bytes(CACHED_TOKENS),
            origin=place.origin,
        )


class _Unusable(Exception):
    """A folder is; the message says why, and `stray` whether it was never meant to be a model."""

    def __init__(self, message: str, *, stray: bool = False) -> None:
        super().__init__(message)
        self.stray = stray


def looks_like_model(names: list[str]) -> bool:
    """Whether a folder with files of these names is a model, or once was to become one."""
    return any(name in (CONFIG, INDEX) or is_weights(name) for name in names)


def _load(file: Path) -> dict[str, Any]:
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_CONFIG_BYTES:
            raise _Unusable("its config.json is no file, or too large")
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise _Unusable(f"its config.json cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Unusable(f"its config.json is not a JSON object: {error}") from error


def _no_config(names: list[str]) -> str:
    if gguf := next((name for name in sorted(names) if name.endswith(".gguf")), None):
        return f"not an MLX model: make one of it with `mlxctl import …/{gguf}`"
    return "it has no config.json"


def _no_weights(names: list[str]) -> str:
    if ADAPTER_WEIGHTS in names:
        return "it is an adapter, and belongs into the adapters directory"
    if any(name.endswith(_PYTORCH) for name in names):
        return "not an MLX model: its weights are PyTorch's, no safetensors"
    return "it has no weights: no model*.safetensors"


def _total(folder: Path, names: list[str]) -> int:
    """Give the size of the files of a folder, but not of the folders in it."""
    found = (_stamp(folder / name) for name in names)
    return sum(stamp.size for stamp in found if stamp and stat.S_ISREG(stamp.mode))


def _stamp(path: Path) -> _Stamp | None:
    """Look at a file; None when it is missing."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return _Stamp(found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode)


def _may_change_unseen(reading: _Reading) -> bool:
    newest = max((stamp.changed_ns for stamp in reading.stamps.values() if stamp), default=0)
    return newest > time.time_ns() - _CLOCK_TICK_NS
