"""The configuration: what every other package imports.

    tree         every key, its default and what it does
    values       how sizes, durations, paths and secrets are written
    keys         the tree's keys as data, and the nearest one to a misspelling
    sources      where settings come from: files, environment, command line
    merge        from the sources to the tree: load, explain
    consistency  which values do not go together: check
    reloading    which keys a reload applies, and which need a restart
    writing      the files that mlxd writes: a commented config.toml, and settings.toml

`mlxctl` imports this, so it stays light: the standard library, msgspec and platformdirs.
"""

from mlxd.config.consistency import check, check_host, is_loopback
from mlxd.config.merge import Explained, explain, load, load_file
from mlxd.config.reloading import CurrentConfig, changed, merged
from mlxd.config.tree import (
    Config,
    EngineConfig,
    GenerationConfig,
    HubConfig,
    LimitsConfig,
    LogConfig,
    ModelsConfig,
    ModelSettings,
    ResponsesConfig,
    ServerConfig,
)
from mlxd.config.values import toml_text
from mlxd.config.writing import read_settings, render_default, write_settings

__all__ = [
    "Config",
    "CurrentConfig",
    "EngineConfig",
    "Explained",
    "GenerationConfig",
    "HubConfig",
    "LimitsConfig",
    "LogConfig",
    "ModelSettings",
    "ModelsConfig",
    "ResponsesConfig",
    "ServerConfig",
    "changed",
    "check",
    "check_host",
    "explain",
    "is_loopback",
    "load",
    "load_file",
    "merged",
    "read_settings",
    "render_default",
    "toml_text",
    "write_settings",
]
