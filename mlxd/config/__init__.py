"""The configuration: what everyone imports.

    tree.py         every key, its default and what it does
    values.py       how sizes, times, paths and secrets are written
    keys.py         the tree's keys as data, and the nearest one to a misspelling
    sources.py      files, environment, command line
    merge.py        from the sources to the tree: load, explain
    consistency.py  what does not go together: check
    render.py       the commented config.toml
    settings.py     reading and writing settings.toml

`mlxctl` imports this, so it stays light: the standard library, msgspec and platformdirs.
"""

from mlxd.config.consistency import check, check_host
from mlxd.config.merge import Explained, explain, load, load_file
from mlxd.config.render import render_default
from mlxd.config.settings import read_settings, write_settings
from mlxd.config.tree import (
    Config,
    EngineConfig,
    GenerationConfig,
    LogConfig,
    ModelsConfig,
    ModelSettings,
    Section,
    ServerConfig,
)
from mlxd.config.values import ByteSize, Duration

__all__ = [
    "ByteSize",
    "Config",
    "Duration",
    "EngineConfig",
    "Explained",
    "GenerationConfig",
    "LogConfig",
    "ModelSettings",
    "ModelsConfig",
    "Section",
    "ServerConfig",
    "check",
    "check_host",
    "explain",
    "load",
    "load_file",
    "read_settings",
    "render_default",
    "write_settings",
]
