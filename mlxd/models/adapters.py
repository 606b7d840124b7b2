"""The adapters on disk, and which models one fits."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import msgspec

from mlxd import paths
from mlxd.models.model_config import UnusableJson, load_json
from mlxd.models.weights import TensorInfo, read_tensors

ADAPTER_WEIGHTS = "adapters.safetensors"
_CONFIG = "adapter_config.json"
_BASE = ("model", "base_model_name_or_path")


class Adapter(msgspec.Struct, frozen=True):
    """Weights on disk that change the answers of a model, such as a LoRA."""

    name: str
    path: Path

    @property
    def size_bytes(self) -> int:
        """The size of its weights as they are now, 0 if they are gone.

        It is not a field: an adapter that was trained further is still the same one.
        """
        try:
            return os.stat(self.path / ADAPTER_WEIGHTS).st_size
        except OSError:
            return 0


def adapters() -> Iterator[Adapter]:
    """Yield the adapters directory's folders in the form of mlx_lm's adapters, by name."""
    root = paths.adapters_dir()
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return
    for name in names:
        files = (root / name / _CONFIG, root / name / ADAPTER_WEIGHTS)
        if not name.startswith(".") and name.isprintable() and all(map(os.path.isfile, files)):
            yield Adapter(name, root / name)


def fits(adapter: Adapter, model_id: str, tensors: Mapping[str, TensorInfo]) -> bool:
    """Return whether an adapter was made for a model, whose weights are `tensors`.

    If it does not name its model, it fits every model that has the layers that it changes.
    """
    if (base := _base(adapter.path / _CONFIG)) is not None:
        return PurePosixPath(base).name == PurePosixPath(model_id).name
    changed = read_tensors([adapter.path / ADAPTER_WEIGHTS])
    layers = {name.rpartition(".")[0] for name in changed}
    return bool(layers) and all(f"{layer}.weight" in tensors for layer in layers)


def _base(file: Path) -> str | None:
    try:
        config = load_json(file)
    except UnusableJson:
        return None
    names = (config.get(key) for key in _BASE)
    return next((name for name in names if isinstance(name, str) and name), None)
