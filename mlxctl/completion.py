"""Names for the shell to complete: never late, and silent where there is nothing to say.

What a shell runs at a press of TAB is the daemon's list, or a look into the folders of models.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import click

from mlxctl.client import Client
from mlxctl.errors import CommandFailed
from mlxd import config as configuration
from mlxd import paths
from mlxd.config import Config
from mlxd.errors import MlxdError

_PATIENCE_SECONDS = 0.5


def model_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Give the models and aliases that begin with `incomplete`; for click's `shell_complete`."""
    try:
        config = configuration.load()
        names = _names(config)
    except (MlxdError, OSError):
        return []
    return sorted(name for name in names if name.startswith(incomplete))


def _names(config: Config) -> set[str]:
    client = Client(config.socket_file(), warn=False, patience=_PATIENCE_SECONDS)
    try:
        models = [model.id for model in client.models().models]
        return {*models, *(alias.name for alias in client.aliases().aliases)}
    except CommandFailed:
        folders = [paths.models_dir(), *map(Path, config.models.dirs)]
        found = {name for folder in folders for name in _on_disk(folder)}
        return found | set(config.models.aliases)


def _on_disk(folder: Path) -> Iterator[str]:
    """Give what looks like a model in `folder`, as NAME or OWNER/NAME."""
    for path in _folders(folder):
        if _is_model(path):
            yield path.name
        else:
            for below in _folders(path):
                if _is_model(below):
                    yield f"{path.name}/{below.name}"


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir()]
    except OSError:
        return []
