"""Where settings come from: two files, the environment and the command line."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlxd import paths
from mlxd.config.keys import PER_MODEL, SECTIONS, KeyPath, is_table, nearest
from mlxd.errors import ConfigError

_PREFIX = "MLXD_"
_NOT_SETTINGS = {"MLXD_HOME"}


class Source(msgspec.Struct, frozen=True):
    """`label` names it beside a value, `where` in an error; relative paths start at `folder`."""

    label: str
    where: str
    folder: Path


class Setting(msgspec.Struct, frozen=True):
    """What a source says at a path; where `text` is set, a string still has to be parsed."""

    path: KeyPath
    value: object
    source: Source
    text: bool = False


def from_file(file: Path, *, required: bool = False) -> Iterator[Setting]:
    """Give what a TOML file says, nothing when it is absent and not `required`.

    Raises:
        ConfigError: as `read_toml` does.
    """
    source = Source(label=file.name, where=str(file), folder=file.parent)
    for path, value in _leaves((), read_toml(file, required=required)):
        yield Setting(path, value, source)


def from_environment(environ: Mapping[str, str]) -> Iterator[Setting]:
    """Give what the variables `MLXD_SECTION__KEY` say.

    Raises:
        ConfigError: a variable looks like a setting and is none, or is not UTF-8.
    """
    for name in sorted(environ):
        if not name.startswith(_PREFIX) or name in _NOT_SETTINGS:
            continue
        where = f"environment variable {name}"
        path = tuple(name.removeprefix(_PREFIX).lower().split("__"))
        if len(path) == 1:
            section, _, key = path[0].partition("_")
            if section not in SECTIONS:
                continue
            near = nearest((section, key))
            example = "__".join(near or (section, "key")).upper()
            raise ConfigError(f"{where}: not a setting; did you mean {_PREFIX}{example}?")
        if path[0] == PER_MODEL:
            raise ConfigError(f"{where}: [{PER_MODEL}] can be set in config.toml only")
        _refuse_bad_unicode(environ[name], where)
        yield Setting(path, environ[name], Source(name, where, Path.cwd()), text=True)


def from_flags(flags: Mapping[str, object]) -> Iterator[Setting]:
    """Give what the command line says: dotted keys and values, None for a flag not given.

    Raises:
        ConfigError: a value is not UTF-8.
    """
    source = Source("flag", "command line", Path.cwd())
    for name, value in flags.items():
        if value is None:
            continue
        if isinstance(value, str):
            _refuse_bad_unicode(value, f"{source.where}: {name}")
        yield Setting(tuple(name.split(".")), value, source, text=isinstance(value, str))


def read_toml(file: Path, *, required: bool = False) -> dict[str, Any]:
    """Give the table a TOML file holds, an empty one when it is absent and not `required`.

    Raises:
        ConfigError: the file is missing, cannot be read, or is not UTF-8, or not TOML.
    """
    try:
        return tomllib.loads(file.read_bytes().decode())
    except FileNotFoundError as error:
        if required:
            raise ConfigError(f"{file}: no such file") from error
        return {}
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise ConfigError(f"{file}: not valid TOML: nested too deeply") from error
    except ValueError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error


def files() -> tuple[Path, Path]:
    """Give the configuration files, the later one the stronger."""
    return paths.config_file(), paths.settings_file()


def _leaves(path: KeyPath, value: object) -> Iterator[tuple[KeyPath, object]]:
    if is_table(path) and isinstance(value, dict):
        for name, entry in value.items():
            yield from _leaves((*path, name), entry)
    else:
        yield path, value


def _refuse_bad_unicode(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{where}: not UTF-8") from error
