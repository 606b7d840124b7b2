"""Arguments and options that several commands have, and the names that a shell completes.

A running daemon is asked for the names. Otherwise they are read from the model folders and the
configuration.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from mlxctl.client import Client, is_running
from mlxctl.errors import CommandFailed, NotRunning
from mlxd import config as configuration
from mlxd import control_api, paths
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
    with contextlib.suppress(CommandFailed):
        return {model.id for model in _daemon(config).call(control_api.LIST_MODELS).models}
    folders = [paths.models_dir(), *map(Path, config.models.dirs)]
    return {name for folder in folders for name in _on_disk(folder)}


def _aliases(config: Config) -> set[str]:
    with contextlib.suppress(CommandFailed):
        return {alias.name for alias in _daemon(config).call(control_api.LIST_ALIASES).aliases}
    return set(config.models.aliases)


def _daemon(config: Config) -> Client:
    if not is_running():
        raise NotRunning
    return Client(config.socket_file(), warn=False, patience=_PATIENCE_SECONDS)


def _on_disk(folder: Path) -> Iterator[str]:
    """Yield the models in `folder` as NAME or OWNER/NAME."""
    files = (*folder.glob("*/config.json"), *folder.glob("*/*/config.json"))
    models = {file.parent for file in files}
    return (str(model.relative_to(folder)) for model in models if model.parent not in models)


def _not_empty(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not value:
        raise click.BadParameter("empty; `mlxctl list` shows the models.")
    return value


model_argument = click.argument("model", callback=_not_empty, shell_complete=model_names)
optional_model_argument = click.argument("model", required=False, shell_complete=model_names)
model_option = click.option(
    "-m",
    "--model",
    metavar="MODEL",
    shell_complete=model_names,
    help="Model to use instead of the default one.",
)
system_option = click.option("--system", metavar="TEXT", help="System message.")
