"""Which keys a running daemon can take anew, and which need a restart."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from mlxd.config.keys import KeyPath, dotted
from mlxd.config.tree import Config

_TAKEN_SECTIONS = (
    *("models", "generation", "engine", "model", "other_models"),
    *("limits", "responses"),
)
_TAKEN_KEYS = {
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
    """The configuration that counts now, for those who look at it with each request."""

    def __init__(self, config: Config) -> None:
        self.now = config


def changed(old: Config, new: Config) -> tuple[list[str], list[str]]:
    """Return the keys that differ: those that are taken at once, and those that need a restart.

    Of `engine`, a model takes what differs when it is next loaded.
    """
    before, after = (dict(_leaves((), msgspec.to_builtins(each))) for each in (old, new))
    names = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    taken = [dotted(path) for path in names if _is_taken(path)]
    return taken, [dotted(path) for path in names if not _is_taken(path)]


def merged(old: Config, new: Config) -> Config:
    """Return what counts after `new` was read: `new`, and what needs a restart as in `old`."""
    sections = {}
    for name, section in asdict(new).items():
        if name not in _TAKEN_SECTIONS:
            taken = {key: value for key, value in asdict(section).items() if _is_taken((name, key))}
            sections[name] = replace(getattr(old, name), **taken)
    return replace(new, **sections)


def _is_taken(path: KeyPath) -> bool:
    return path[0] in _TAKEN_SECTIONS or path[:2] in _TAKEN_KEYS


def _leaves(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, dict) and (len(path) < 2 or path[0] == "model"):
        for name, inner in value.items():
            yield from _leaves((*path, str(name)), inner)
    else:
        yield path, value
