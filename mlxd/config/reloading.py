"""Which keys of the configuration a reload applies, and which need a restart."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from mlxd.config.keys import KeyPath, dotted
from mlxd.config.tree import Config

_APPLIED_SECTIONS = (
    "models",
    "generation",
    "engine",
    "model",
    "other_models",
    "limits",
    "responses",
)
_APPLIED_KEYS = {
    ("log", "level"),
    ("server", "allowed_hosts"),
    ("server", "allowed_origins"),
    ("server", "api_key"),
    ("server", "body_timeout"),
    ("server", "drain_timeout"),
    ("server", "head_timeout"),
    ("server", "max_body"),
    ("server", "max_connections"),
    ("server", "max_queue"),
    ("server", "max_queue_size"),
    ("server", "read_timeout"),
}


class CurrentConfig:
    """The configuration as it is `now`, after the last reload."""

    def __init__(self, config: Config) -> None:
        self.now = config


def changed(old: Config, new: Config) -> tuple[list[str], list[str]]:
    """Return the keys that differ: those that a reload applies, and those that need a restart.

    Keys of `engine` apply to a model when it is next loaded.
    """
    models = dict.fromkeys([*old.model, *new.model])
    # A model without settings of its own has those of all models.
    whole = [
        replace(each, model={name: each.for_model(name) for name in models}) for each in (old, new)
    ]
    before, after = (dict(_leaves((), msgspec.to_builtins(each))) for each in whole)
    names = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    applied = [dotted(path) for path in names if _is_applied(path)]
    return applied, [dotted(path) for path in names if not _is_applied(path)]


def merged(old: Config, new: Config) -> Config:
    """Return the configuration after a reload: `new`, but keys that need a restart as in `old`."""
    sections = {}
    for name, section in asdict(new).items():
        if name not in _APPLIED_SECTIONS:
            values = asdict(section).items()
            applied = {key: value for key, value in values if _is_applied((name, key))}
            sections[name] = replace(getattr(old, name), **applied)
    return replace(new, **sections)


def _is_applied(path: KeyPath) -> bool:
    return path[0] in _APPLIED_SECTIONS or path[:2] in _APPLIED_KEYS


def _leaves(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, dict) and (len(path) < 2 or path[0] == "model"):
        for name, inner in value.items():
            yield from _leaves((*path, str(name)), inner)
    else:
        yield path, value
