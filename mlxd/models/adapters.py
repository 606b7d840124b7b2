"""The adapters on disk, and which models one fits."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec

from mlxd import paths
from mlxd.models.model_config import UnusableJson, load_json

ADAPTER_WEIGHTS = "adapters.safetensors"
_CONFIG = "adapter_config.json"


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


def made_for(adapter: Adapter, model_id: str) -> bool:
    """Return whether the configuration of an adapter names a model as the one it was made for."""
    try:
        base = load_json(adapter.path / _CONFIG).get("model")
    except UnusableJson:
        return False
    return isinstance(base, str) and PurePosixPath(base).name == PurePosixPath(model_id).name
