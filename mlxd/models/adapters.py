"""The adapters on disk."""

import os
from collections.abc import Iterator

from mlxd import paths
from mlxd.models.entry import ADAPTER_WEIGHTS, Adapter

ADAPTER_CONFIG = "adapter_config.json"


def adapters() -> Iterator[Adapter]:
    """Give the sub-folders of the adapters directory that mlx_lm could have written, by name."""
    root = paths.adapters_dir()
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return
    for name in names:
        files = (root / name / ADAPTER_CONFIG, root / name / ADAPTER_WEIGHTS)
        if not name.startswith(".") and name.isprintable() and all(map(os.path.isfile, files)):
            yield Adapter(name, root / name)
