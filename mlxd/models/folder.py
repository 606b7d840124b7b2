"""Reading one candidate folder: the model in it, or why it cannot be used."""

import os
import re
import stat
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from mlxd.files import out_of_files
from mlxd.models.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from mlxd.models.entry import BrokenEntry, Candidate, CatalogEntry
from mlxd.models.generation_config import read_own_sampling
from mlxd.models.model_config import UnusableJson, load_json, read_config
from mlxd.models.weights import INDEX, is_weights, read_weights

CONFIG = "config.json"
_PYTORCH = (".bin", ".pt", ".pth")
_TOKENIZER = re.compile(
    r"tokenizer\.json|tekken\.json|vocab.*|spiece\.model.*|sentencepiece.*\.model|tokenizer\.model.*"
)
_TOKENIZER_FOR_CODE = re.compile(r".*tiktoken.*|.*vocab.*|.*\.model|tokenizer\.jsonl")
"""Vocabularies that only Python code of the model's own can read."""


_BROKEN_SECONDS = 30.0


class _Stamp(NamedTuple):
    """What differs once a file has changed."""

    changed_ns: int
    size: int
    inode: int
    mode: int


_Stamps = dict[str, _Stamp | None]


class FolderReader:
    """Reads candidates, and reads one again only if a file in its folder has changed.

    A broken one is also read again after a while: the disk may have been at fault.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Candidate, tuple[_Stamps, CatalogEntry | BrokenEntry, float]] = {}

    def read(self, candidate: Candidate) -> CatalogEntry | BrokenEntry | None:
        """Return the model in a folder, or what is wrong with it; None if the folder is empty.

        Raises OSError if this process cannot open more files.
        """
        try:
            names = [name for name in os.listdir(candidate.folder) if not name.startswith(".")]
        except PermissionError as error:
            return _broken(candidate, 0, 0, _Unusable(f"it cannot be read: {error.strerror}"))
        except OSError as error:
            if out_of_files(error):
                raise
            return None
        stamps = {name: _stamp(candidate.folder / name) for name in names}
        known = self._known.get(candidate)
        now = self._clock()
        old = known is not None and isinstance(known[1], BrokenEntry) and now > known[2]
        if known is None or known[0] != stamps or old:
            model = self._read(candidate, stamps)
            known = self._known[candidate] = (stamps, model, now + _BROKEN_SECONDS)
        return known[1] if names else None

    def _read(self, candidate: Candidate, stamps: _Stamps) -> CatalogEntry | BrokenEntry:
        dated = stamps.get(CONFIG) or _stamp(candidate.folder)
        created = dated.changed_ns // 1_000_000_000 if dated else 0
        try:
            _check_kinds(stamps)
            return self._model(candidate, created, stamps)
        except _Unusable as error:
            files = [stamp for stamp in stamps.values() if stamp and stat.S_ISREG(stamp.mode)]
            return _broken(candidate, created, sum(file.size for file in files), error)

    def _model(self, candidate: Candidate, created: int, names: Collection[str]) -> CatalogEntry:
        folder = candidate.folder
        parts_missing = missing(names)
        if CONFIG not in names:
            raise _Unusable(str(parts_missing), stray=True)
        try:
            config = read_config(load_json(folder / CONFIG))
        except UnusableJson as error:
            raise _Unusable(f"its config.json {error}") from error
        if fault := config.fault:
            raise _Unusable(fault, stray=True)
        if parts_missing:
            raise _Unusable(parts_missing, stray=INDEX not in names)
        if fault := tokenizer_fault(names):
            raise _Unusable(fault)
        weights = read_weights(folder, names)
        if weights.fault:
            raise _Unusable(f"partial: {weights.fault}")
        return CatalogEntry(
            id=candidate.id,
            path=folder,
            created=created,
            size_bytes=weights.size_bytes,
            architecture=config.architecture,
            quantization=config.quantization or weights.dtype,
            context_length=config.context_length,
            cache_bytes=config.cache_bytes,
            origin=candidate.origin,
            sampling=read_own_sampling(folder),
            own_code=_own_code(names, in_config=config.own_code),
        )


def _check_kinds(stamps: _Stamps) -> None:
    """Refuse a pipe or a device, which the engine would open and wait for, or read for ever."""
    for name, stamp in stamps.items():
        if stamp is not None and not (stat.S_ISREG(stamp.mode) or stat.S_ISDIR(stamp.mode)):
            raise _Unusable(f"its {name} is not a regular file")


class _Unusable(Exception):
    """The folder is not a usable model; `stray` as in BrokenEntry."""

    def __init__(self, message: str, *, stray: bool = False) -> None:
        super().__init__(message)
        self.stray = stray


def _broken(candidate: Candidate, created: int, size_bytes: int, why: _Unusable) -> BrokenEntry:
    return BrokenEntry(
        id=candidate.id,
        path=candidate.folder,
        created=created,
        size_bytes=size_bytes,
        fault=str(why),
        stray=why.stray,
        origin=candidate.origin,
    )


def looks_like_model(names: Collection[str]) -> bool:
    """Return whether a folder with files of these names was meant to be a model."""
    return any(name in (CONFIG, INDEX) or is_weights(name) for name in names)


def tokenizer_fault(names: Collection[str]) -> str | None:
    """Return why files of these names have no tokenizer that can be loaded, None if they may."""
    if any(map(_TOKENIZER.fullmatch, names)):
        return None
    if not any(map(_TOKENIZER_FOR_CODE.fullmatch, names)):
        return "it has no tokenizer"
    if any(name.endswith(".py") for name in names):
        return None
    return "its tokenizer needs Python code of the model's own, which is not there"


def _own_code(names: Collection[str], *, in_config: bool) -> str | None:
    """Return which code of the model's own has to run for it, None if files are only read."""
    if in_config:
        return "its config.json names Python code of its own (model_file)"
    if any(map(_TOKENIZER.fullmatch, names)):
        return None  # what else there is, auto_map and .py files too, is left alone
    return "its tokenizer needs Python code of its own"


def missing(names: Collection[str]) -> str | None:
    """Return why a folder or repository with files of these names is not a model, or None."""
    has_weights = any(map(is_weights, names))
    if has_weights and CONFIG in names:
        return None
    if any(name.endswith(".gguf") for name in names):
        return "it has GGUF files, which `mlxctl import FILE.gguf` converts"
    if ADAPTER_WEIGHTS in names or ADAPTER_CONFIG in names:
        return "it is an adapter; those of mlx_lm go into the adapters directory"
    if has_weights or CONFIG not in names:
        return "it has no config.json"
    if any(name.endswith(_PYTORCH) for name in names):
        return "it has PyTorch weights, not safetensors"
    return "it has no weights (model*.safetensors)"


def _stamp(file: Path) -> _Stamp | None:
    """Return the stamp of a file; None if it is missing, as the target of a link may be."""
    try:
        found = file.stat()
    except OSError:
        return None
    return _Stamp(found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode)
