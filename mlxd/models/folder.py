"""Reading one candidate folder: the model in it, or why it cannot be used."""

import os
import stat
from collections.abc import Collection
from pathlib import Path

from mlxd.models.adapters import ADAPTER_WEIGHTS
from mlxd.models.entry import BrokenEntry, Candidate, CatalogEntry
from mlxd.models.model_config import (
    Architectures,
    ModelConfig,
    UnusableJson,
    load_json,
    read_config,
)
from mlxd.models.weights import FileCache, WeightsReader, is_weights

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
_PYTORCH = (".bin", ".pt", ".pth")


class FolderReader:
    """Reads candidates; their files are read again only if they have changed."""

    def __init__(self) -> None:
        self._architectures = Architectures()
        self._configs = FileCache(_config)
        self._weights = WeightsReader()

    def read(self, candidate: Candidate) -> CatalogEntry | BrokenEntry | None:
        """Return the model in a folder, or what is wrong with it; None if the folder is empty."""
        folder = candidate.folder
        try:
            names = [name for name in os.listdir(folder) if not name.startswith(".")]
        except OSError:
            return None
        if not names:
            return None
        try:
            return self._model(candidate, names)
        except _Unusable as error:
            return BrokenEntry(
                id=candidate.id,
                path=folder,
                created=_created(folder),
                size_bytes=sum(_size(folder / name) for name in names),
                fault=str(error),
                stray=error.stray,
                origin=candidate.origin,
            )

    def _model(self, candidate: Candidate, names: list[str]) -> CatalogEntry:
        folder = candidate.folder
        parts_missing = missing(names)
        if CONFIG not in names:
            raise _Unusable(str(parts_missing), stray=True)
        try:
            config = self._configs[folder / CONFIG]
        except UnusableJson as error:
            raise _Unusable(f"its config.json {error}") from error
        if fault := self._architectures.fault(config):
            raise _Unusable(fault, stray=True)
        if parts_missing:
            raise _Unusable(parts_missing, stray=INDEX not in names)
        weights = self._weights.read(folder, names)
        if weights.fault:
            raise _Unusable(f"partial: {weights.fault}")
        return CatalogEntry(
            id=candidate.id,
            path=folder,
            created=_created(folder),
            size_bytes=weights.size_bytes,
            architecture=config.architecture,
            quantization=config.quantization or weights.dtype,
            context_length=config.context_length,
            cache_bytes=config.cache_bytes,
            origin=candidate.origin,
        )


class _Unusable(Exception):
    """The folder is not a usable model; `stray` as in BrokenEntry."""

    def __init__(self, message: str, *, stray: bool = False) -> None:
        super().__init__(message)
        self.stray = stray


def looks_like_model(names: Collection[str]) -> bool:
    """Return whether a folder with files of these names was meant to be a model."""
    return any(name in (CONFIG, INDEX) or is_weights(name) for name in names)


def missing(names: Collection[str]) -> str | None:
    """Return why a folder or repository with files of these names is not a model, or None."""
    has_weights = any(map(is_weights, names))
    if has_weights and CONFIG in names:
        return None
    if any(name.endswith(".gguf") for name in names):
        return "it has GGUF files, which `mlxctl import FILE.gguf` converts"
    if ADAPTER_WEIGHTS in names or "adapter_config.json" in names:
        return "it is an adapter; those of mlx_lm go into the adapters directory"
    if has_weights or CONFIG not in names:
        return "it has no config.json"
    if any(name.endswith(_PYTORCH) for name in names):
        return "it has PyTorch weights, not safetensors"
    return "it has no weights (model*.safetensors)"


def _config(file: Path) -> ModelConfig:
    return read_config(load_json(file))


def _created(folder: Path) -> int:
    """Return when the config.json was changed, or else the folder, in Unix seconds."""
    found = _stat(folder / CONFIG) or _stat(folder)
    return int(found.st_mtime) if found else 0


def _size(file: Path) -> int:
    found = _stat(file)
    return found.st_size if found and stat.S_ISREG(found.st_mode) else 0


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None
