"""From the sources to the tree: the strongest source of each key wins, every mistake is reported.

The order, weakest first: defaults, config.toml, settings.toml, environment, command line. In a
table of names, such as the aliases, each name is a setting of its own; an empty table clears it.
"""

import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlxd import paths
from mlxd.config import sources
from mlxd.config.keys import (
    GENERATION,
    KEYS,
    PER_MODEL,
    SECTIONS,
    Key,
    KeyPath,
    advice,
    dotted,
    find,
    is_table,
)
from mlxd.config.sources import Setting
from mlxd.config.tree import Config, GenerationConfig, ModelSettings
from mlxd.errors import ConfigError

_SHOWN_CHARACTERS = 60


class Explained(msgspec.Struct, frozen=True):
    """A key, its value and its source. `text` is TOML; `value` and `text` mask a secret."""

    key: str
    value: object
    text: str
    source: str


class _Read(msgspec.Struct, frozen=True):
    """A value of the tree, and where it came from."""

    value: object
    label: str


def load(
    *, flags: Mapping[str, object] | None = None, environ: Mapping[str, str] = os.environ
) -> Config:
    """Load the configuration from config.toml, settings.toml, `environ` and `flags`.

    `flags` maps dotted keys such as "server.port" to values; a value of None is a flag not given.

    Raises:
        ConfigError: one line for every mistake: where, which key, what was found, what is allowed.
    """
    return _build(_read(_settings(flags, environ)))


def load_file(file: Path) -> Config:
    """Load the configuration from one file alone.

    Raises:
        ConfigError: as `load` does; also when the file is absent.
    """
    return _build(_read(sources.from_file(file.absolute(), required=True)))


def explain(
    *, flags: Mapping[str, object] | None = None, environ: Mapping[str, str] = os.environ
) -> list[Explained]:
    """Return every key with its value and its source, in the order of the tree.

    A source is "default", "config.toml", "settings.toml", a variable's name or "flag".

    Raises:
        ConfigError: as `load` does.
    """
    read = _read(_settings(flags, environ))
    rows = {path: read.get(path, _Read(key.default, "default")) for path, key in KEYS.items()}
    rows |= {path: read[path] for path in sorted(read) if path[0] == PER_MODEL}
    return [
        Explained(
            key=dotted(path),
            value="***" if key.secret and row.value else row.value,
            text=key.write(row.value),
            source=row.label,
        )
        for path, row in rows.items()
        if (key := find(path))
    ]


def read_setting(setting: Setting) -> object:
    """Turn a setting into the value of the tree.

    Raises:
        ConfigError: the key is unknown, or the value is not allowed.
    """
    where = f"{setting.source.where}: {dotted(setting.path)}"
    key = find(setting.path)
    if key is None and is_table(setting.path):
        raise ConfigError(f"{where}: found {_shown(setting.value)}, expected a table")
    if key is None:
        raise ConfigError(f"{where}: unknown key; {advice(setting.path)}")
    folder = setting.source.folder
    try:
        if setting.text and isinstance(setting.value, str):
            return key.read_text(setting.value, folder)
        return key.read(setting.value, folder)
    except ValueError as error:
        raise ConfigError(f"{where}: {_found(key, setting.value)}") from error


def _settings(flags: Mapping[str, object] | None, environ: Mapping[str, str]) -> Iterable[Setting]:
    return itertools.chain(
        sources.from_file(paths.config_file()),
        sources.from_file(paths.settings_file()),
        sources.from_environment(environ),
        sources.from_flags(flags or {}),
    )


def _read(settings: Iterable[Setting]) -> dict[KeyPath, _Read]:
    read: dict[KeyPath, _Read] = {}
    mistakes: list[str] = []
    for setting in settings:
        try:
            found = _Read(read_setting(setting), setting.source.label)
            read[setting.path] = _merged(read.get(setting.path), found)
        except ConfigError as error:
            mistakes.append(error.message)
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return read


def _merged(weaker: _Read | None, stronger: _Read) -> _Read:
    """Return the stronger of two; tables of names are combined, unless one is empty."""
    if weaker is None or not isinstance(weaker.value, dict) or not isinstance(stronger.value, dict):
        return stronger
    if not weaker.value or not stronger.value:
        return stronger
    labels = f"{weaker.label}, {stronger.label}"
    return _Read({**weaker.value, **stronger.value}, labels)


def _build(read: Mapping[KeyPath, _Read]) -> Config:
    sections: dict[str, dict[str, object]] = {}
    models: dict[str, dict[KeyPath, object]] = {}
    for path, setting in read.items():
        if path[0] == PER_MODEL:
            models.setdefault(path[1], {})[path[2:]] = setting.value
        else:
            sections.setdefault(path[0], {})[path[1]] = setting.value
    config = msgspec.structs.replace(
        Config(), **{name: SECTIONS[name](**values) for name, values in sections.items()}
    )
    models_settings = {
        name: _model_settings(config.generation, values) for name, values in models.items()
    }
    return msgspec.structs.replace(config, model=models_settings)


def _model_settings(base: GenerationConfig, values: Mapping[KeyPath, Any]) -> ModelSettings:
    own = {path[0]: value for path, value in values.items() if path[0] != GENERATION}
    different = {path[1]: value for path, value in values.items() if path[0] == GENERATION}
    return ModelSettings(generation=msgspec.structs.replace(base, **different), **own)


def _found(key: Key, value: object) -> str:
    if key.secret:
        return f"expected {key.expected}"
    return f"found {_shown(value)}, expected {key.expected}"


def _shown(value: object) -> str:
    try:
        text = msgspec.json.encode(value).decode()
    except RecursionError:
        return "a value nested too deeply"
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
