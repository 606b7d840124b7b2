"""The adapters on disk, and which model one was made for."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlxd import paths
from mlxd.models.entry import ADAPTER_WEIGHTS, Adapter, CatalogEntry, folder_name
from mlxd.models.weights import TensorInfo, read_tensors

_CONFIG = "adapter_config.json"
_BASE = ("model", "base_model_name_or_path")


def adapters() -> Iterator[Adapter]:
    """Give the sub-folders of the adapters directory that mlx_lm could have written, by name."""
    root = paths.adapters_dir()
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return
    for name in names:
        files = (root / name / _CONFIG, root / name / ADAPTER_WEIGHTS)
        if not name.startswith(".") and name.isprintable() and all(map(os.path.isfile, files)):
            yield Adapter(name, root / name)


def fits(adapter: Adapter, entry: CatalogEntry, tensors: Mapping[str, TensorInfo]) -> bool:
    """Whether an adapter was made for a model, whose weights are `tensors`.

    Where it does not say what it was made for, it fits a model that has every layer it changes.
    """
    if (base := _base(adapter.path / _CONFIG)) is not None:
        return folder_name(base.rstrip("/")) == folder_name(entry.id)
    changed = read_tensors([adapter.path / ADAPTER_WEIGHTS])
    layers = {name.rpartition(".")[0] for name in changed}
    return bool(layers) and all(f"{layer}.weight" in tensors for layer in layers)


def _base(file: Path) -> str | None:
    try:
        says = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, RecursionError):
        return None
    names = (says.get(key) for key in _BASE)
    return next((name for name in names if isinstance(name, str) and name), None)
