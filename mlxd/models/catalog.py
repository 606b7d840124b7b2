"""The models and adapters on disk: which there are, and which one a request means."""

import difflib
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mlxd import paths
from mlxd.config import Models
from mlxd.errors import InvalidRequest, ModelNotFound
from mlxd.models.entry import ADAPTER_WEIGHTS, CACHED_TOKENS, Adapter, Entry
from mlxd.models.model_config import read_config

__all__ = ["DEFAULT_NAMES", "Adapter", "Catalog", "Entry"]

DEFAULT_NAMES = ("", "default_model")
_NEAR_NAMES = 3
_ADAPTER_FILES = ("adapter_config.json", ADAPTER_WEIGHTS)
_MAX_CONFIG_BYTES = 10_000_000

_log = logging.getLogger("mlxd.models")


class Catalog:
    """The configured folders, then the models directory, read anew at each question.

    A folder holds models, or is one itself. What looks like a model and is none is left out, with
    a remark in the log.
    """

    def __init__(self, config: Models) -> None:
        self._config = config
        self._known: dict[Path, tuple[int, Entry]] = {}
        self._remarks: set[str] = set()

    def entries(self) -> list[Entry]:
        """Give every model, by id; where two folders have the same name the first one counts."""
        found: dict[str, Entry] = {}
        for folder in self._folders():
            if folder.name not in found and (entry := self._read(folder)) is not None:
                found[folder.name] = entry
        return sorted(found.values(), key=lambda entry: entry.id)

    def set_default(self, name: str) -> None:
        """Make `name` the model that a request means which names none."""
        self._config = msgspec.structs.replace(self._config, default=name)

    def default(self) -> Entry | None:
        """Give the model that a request means which names none; None when that is not clear."""
        try:
            return self.resolve(None)
        except ModelNotFound:
            return None

    def resolve(self, name: str | None) -> Entry:
        """Give the model that `name` means: an id, an alias, or the default for no name.

        The default is the configured one, or the only one there is.

        Raises:
            ModelNotFound: names the near ones, or says what to do when there is none.
        """
        entries = {entry.id: entry for entry in self.entries()}
        if not entries:
            raise ModelNotFound(
                "no model is installed: add one with `mlxctl import FILE.gguf`", param="model"
            )
        if name is None or name in DEFAULT_NAMES:
            name = self._config.default or (next(iter(entries)) if len(entries) == 1 else "")
        if not name:
            raise ModelNotFound(
                f"no default model is set: name one of {', '.join(entries)}, "
                "or set it with `mlxctl use MODEL`",
                param="model",
            )
        if (entry := entries.get(self._config.aliases.get(name, name))) is not None:
            return entry
        names = [*entries, *self._config.aliases]
        near = difflib.get_close_matches(name, names, _NEAR_NAMES)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there is {', '.join(names)}"
        raise ModelNotFound(f"model {name!r} does not exist; {hint}", param="model")

    def adapter(self, name: str) -> Adapter:
        """Give the adapter `name`, which is never a path.

        Raises:
            InvalidRequest: there is none of that name; says which there are.
        """
        adapters = {adapter.name: adapter for adapter in _adapters()}
        if (adapter := adapters.get(name)) is not None:
            return adapter
        allowed = f"there is {', '.join(adapters)}" if adapters else "none is installed"
        raise InvalidRequest(f"adapter {name!r} does not exist; {allowed}", param="adapters")

    def _folders(self) -> Iterator[Path]:
        for root in (*map(Path, self._config.dirs), paths.models_dir()):
            if os.path.isfile(root / "config.json"):
                yield root
                continue
            yield from _sub_folders(root)

    def _remark(self, folder: Path, fault: str) -> None:
        """Log, once, why `folder` is no model."""
        remark = f"{str(folder)!r} is left out: {fault}"
        if remark not in self._remarks:
            self._remarks.add(remark)
            _log.warning("%s", remark)

    def _read(self, folder: Path) -> Entry | None:
        """Read a model folder; None when it is not one. Unchanged folders are read once."""
        file = folder / "config.json"
        try:
            found = file.stat()
            changed = found.st_mtime_ns
            if (known := self._known.get(folder)) is not None and known[0] == changed:
                return known[1]
            weights = [weight.stat().st_size for weight in folder.glob("model*.safetensors")]
            if not weights:
                return None
            if not folder.name.isprintable():
                self._remark(folder, "its name is not UTF-8, or cannot be printed")
                return None
            if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_CONFIG_BYTES:
                self._remark(folder, "its config.json is no file, or too large")
                return None
            config = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError) as error:
            self._remark(folder, f"its config.json is not a JSON object: {error}")
            return None
        except OSError:
            return None
        says = read_config(config)
        tokens = min(says.context_length or CACHED_TOKENS, CACHED_TOKENS)
        entry = Entry(
            id=folder.name,
            path=folder,
            created=changed // 1_000_000_000,
            size_bytes=sum(weights),
            architecture=says.architecture or "unknown",
            quantization=says.quantization,
            context_length=says.context_length,
            cache_bytes=tokens * says.token_bytes,
        )
        self._known[folder] = (changed, entry)
        return entry


def _adapters() -> Iterator[Adapter]:
    """Give the sub-folders of the adapters directory that mlx_lm could have written, by name."""
    for folder in _sub_folders(paths.adapters_dir()):
        known = all(os.path.isfile(folder / file) for file in _ADAPTER_FILES)
        if known and folder.name.isprintable():
            yield Adapter(folder.name, folder)


def _sub_folders(root: Path) -> list[Path]:
    """Give what is in `root` and not hidden, by name; nothing when it cannot be read."""
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return []
    return [root / name for name in names if not name.startswith(".")]
