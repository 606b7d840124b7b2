"""The flags of `mlxd` that are settings of models: which models they mean, as in `mlx_lm server`.

Adapters and draft models belong to the default model, templates to every model. Unlike requests,
flags may name folders.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from mlxd.config import Config
from mlxd.errors import ConfigError
from mlxd.models.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from mlxd.models.catalog import Catalog

_FLAGS = {
    "adapter": "--adapter-path",
    "draft_model": "--draft-model",
    "num_draft_tokens": "--num-draft-tokens",
}
"""The settings that only the default model gets, and their flags."""


def apply(config: Config, given: Mapping[str, Any]) -> Config:
    """Return `config` with the settings that were given as flags, by their names.

    Raises:
        ConfigError: a value is not allowed, or a flag needs a default model and there is none.
    """
    if not given:
        return config
    changes = {name: _read(name, value) for name, value in given.items()}
    for_all = {name: value for name, value in changes.items() if name not in _FLAGS}
    only = {name: value for name, value in changes.items() if name in _FLAGS}
    config, only = _with_draft_folder(config, only)
    others = replace(config.for_model(""), **for_all)
    models = {name: replace(own, **for_all) for name, own in config.model.items()}
    if only:
        default = Catalog(config.models, config.trusts).default()
        name = default.id if default else config.models.default
        if not name:
            raise ConfigError(f"{_FLAGS[next(iter(only))]} needs a default model: give --model too")
        models[name] = replace(models.get(name, others), **only)
    return replace(config, model=models, other_models=others)


def _read(name: str, value: Any) -> Any:
    match name:
        case "chat_template_args":
            try:
                return msgspec.json.decode(value, type=dict[str, Any])
            except (msgspec.DecodeError, RecursionError) as error:
                raise ConfigError("--chat-template-args: expected a JSON object") from error
        case "adapter":
            folder = Path(os.path.expanduser(value)).absolute()
            for file in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
                if not (folder / file).is_file():
                    raise ConfigError(f"--adapter-path: {folder} has no {file}")
            return str(folder)
        case "num_draft_tokens" if not 0 <= value <= 64:
            raise ConfigError(f"--num-draft-tokens: found {value}, expected 0 to 64")
        case _:
            return value


def _with_draft_folder(config: Config, changes: dict[str, Any]) -> tuple[Config, dict[str, Any]]:
    """Add a draft model that is given as a folder to the catalog, under its own name."""
    folder = Path(os.path.expanduser(changes.get("draft_model", ""))).absolute()
    if not changes.get("draft_model") or not (folder / "config.json").is_file():
        return config, changes
    models = replace(config.models, dirs=[str(folder), *config.models.dirs])
    return replace(config, models=models), {**changes, "draft_model": folder.name}
