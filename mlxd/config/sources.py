"""Where settings come from: two files, the environment and the command line."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

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
    """A value that a source sets; with `text`, a string still has to be parsed."""

    path: KeyPath
    value: object
    source: Source
    text: bool = False


def from_file(file: Path, *, required: bool = False) -> Iterator[Setting]:
    """Yield what a TOML file sets; nothing if it is absent and not `required`.

    Raises:
        ConfigError: as `read_toml` does.
    """
    source = Source(label=file.name, where=str(file), folder=file.parent)
    for path, value in _leaves((), read_toml(file, required=required)):
        yield Setting(path, value, source)


def from_environment(environ: Mapping[str, str]) -> Iterator[Setting]:
    """Yield what the variables `MLXD_SECTION__KEY` set.

    Raises:
        ConfigError: a variable looks like a setting but is not, or is not UTF-8.
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
    """Yield what the command line sets: dotted keys and values, None for a flag not given.

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
    """Return the table in a TOML file; an empty one if it is absent and not `required`.

    Raises:
        ConfigError: the file is missing, cannot be read, is not UTF-8, or is not TOML.
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
