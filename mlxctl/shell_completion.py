"""Names of models and aliases for shell completion: quickly, and without error messages.

A running daemon is asked for them. Otherwise they are read from the model folders and the
configuration: a connection would start the daemon if launchd or systemd listens.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from mlxctl.client import Client
from mlxctl.errors import CommandFailed
from mlxd import config as configuration
from mlxd import control_api, lock, paths
from mlxd.config import Config
from mlxd.errors import MlxdError

_PATIENCE_SECONDS = 0.3  # a daemon that hangs costs it twice


def model_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the models and aliases that begin with `incomplete`, for click's `shell_complete`."""
    return names_of_models(incomplete)


def names_of_models(incomplete: str) -> list[str]:
    """Return the models and aliases that begin with `incomplete`."""
    return _completed(incomplete, lambda config: _models(config) | _aliases(config))


def alias_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the aliases that begin with `incomplete`, for click's `shell_complete`."""
    return _completed(incomplete, _aliases)


def _completed(incomplete: str, names: Callable[[Config], set[str]]) -> list[str]:
    try:
        found = names(configuration.load())
    except (MlxdError, OSError):
        return []
    return sorted(name for name in found if name.startswith(incomplete))


def _models(config: Config) -> set[str]:
    if (client := _client(config)) is not None:
        with contextlib.suppress(CommandFailed):
            return {model.id for model in client.call(control_api.LIST_MODELS).models}
    folders = [paths.models_dir(), *map(Path, config.models.dirs)]
    return {name for folder in folders for name in _on_disk(folder)}


def _aliases(config: Config) -> set[str]:
    if (client := _client(config)) is not None:
        with contextlib.suppress(CommandFailed):
            return {alias.name for alias in client.call(control_api.LIST_ALIASES).aliases}
    return set(config.models.aliases)


def _client(config: Config) -> Client | None:
    if lock.holder(paths.lock_file()) is None:
        return None
    return Client(config.socket_file(), warn=False, patience=_PATIENCE_SECONDS)


def _on_disk(folder: Path) -> Iterator[str]:
    """Yield the models in `folder` as NAME or OWNER/NAME."""
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
