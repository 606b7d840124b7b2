"""The machine's settings.toml: read, changed and written whole."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlxd import paths
from mlxd.config.keys import KeyPath
from mlxd.config.merge import read_setting
from mlxd.config.sources import Setting, Source, read_toml
from mlxd.errors import ConfigError


def write_settings(changes: Mapping[str, object]) -> None:
    """Set the dotted keys of `changes` in settings.toml; a value of None takes the key out.

    A table changes by its names, of which a value of None takes out that one.

    The file is replaced in one step, so that a reader or a crash sees the old or the new one.

    Raises:
        ConfigError: a key or value is not allowed, or the file cannot be read or written.
    """
    file = paths.settings_file()
    source = Source(label=file.name, where=str(file), folder=file.parent)
    table = read_toml(file)
    for name, value in changes.items():
        section, _, key = name.partition(".")
        path: KeyPath = (section, key)
        if isinstance(value, Mapping):
            value = _changed(table.get(section, {}).get(key, {}), value)
        if value is None:
            table.get(section, {}).pop(key, None)
        else:
            read_setting(Setting(path, value, source))
            table.setdefault(section, {})[key] = value
    _replace(file, _toml(table))


def read_settings() -> dict[str, Any]:
    """Give what settings.toml says, as it is written there.

    Raises:
        ConfigError: as `write_settings` does.
    """
    return read_toml(paths.settings_file())


def _changed(
    table: Mapping[str, object], changes: Mapping[str, object]
) -> dict[str, object] | None:
    """Give `table` with `changes`; None when nothing is left in it."""
    return {
        name: value for name, value in {**table, **changes}.items() if value is not None
    } or None


def _toml(table: Mapping[str, object]) -> bytes:
    import tomli_w  # mlxctl imports this module and never writes

    return tomli_w.dumps(table).encode()


def _replace(file: Path, content: bytes) -> None:
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(file)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from error
