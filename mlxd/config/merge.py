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
from mlxd.config.keys import KEYS, PER_MODEL, KeyPath, advice, dotted, find, is_table
from mlxd.config.sources import Setting
from mlxd.config.tree import Config
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

    value: Any
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
            text=key.value_type.write(row.value),
            source=row.label,
        )
        for path, row in rows.items()
        if (key := find(path))
    ]


def read_setting(setting: Setting) -> Any:
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
    try:
        return key.read(setting.value, setting.source.folder, text=setting.text)
    except (ValueError, msgspec.ValidationError) as error:
        found = "" if key.secret else f"found {_shown(setting.value)}, "
        raise ConfigError(f"{where}: {found}expected {key.value_type.expected}") from error


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
            value, label = read_setting(setting), setting.source.label
        except ConfigError as error:
            mistakes.append(error.message)
            continue
        weaker = read.get(setting.path)
        if weaker and weaker.value and value and isinstance(value, dict):
            value, label = weaker.value | value, f"{weaker.label}, {label}"
        read[setting.path] = _Read(value, label)
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return read


def _build(read: Mapping[KeyPath, _Read]) -> Config:
    tree: dict[str, Any] = {}
    for (*sections, name), setting in read.items():
        table = tree
        for section in sections:
            table = table.setdefault(section, {})
        table[name] = setting.value
    for model in tree.get(PER_MODEL, {}).values():
        model["generation"] = tree.get("generation", {}) | model.get("generation", {})
    return msgspec.convert(tree, Config)


def _shown(value: object) -> str:
    from json import dumps  # only a mistake pays for this import

    try:
        text = dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    except RecursionError:
        return "a value nested too deeply"
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
