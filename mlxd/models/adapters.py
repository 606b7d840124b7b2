"""The adapters on disk."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from mlxd import paths

ADAPTER_WEIGHTS = "adapters.safetensors"
ADAPTER_CONFIG = "adapter_config.json"


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


def adapter_in(folder: Path) -> Adapter:
    """Return the adapter in a folder outside the adapters directory."""
    return Adapter(folder.name, folder)


def adapters() -> Iterator[Adapter]:
    """Yield the adapters directory's folders in the form of mlx_lm's adapters, by name."""
    for config in sorted(paths.adapters_dir().glob(f"[!.]*/{ADAPTER_CONFIG}")):
        folder = config.parent
        if folder.name.isprintable() and (folder / ADAPTER_WEIGHTS).is_file():
            yield Adapter(folder.name, folder)
