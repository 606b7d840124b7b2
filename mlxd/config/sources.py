"""Where settings come from: two files, the environment and the command line."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlxd.config.keys import PER_MODEL, SECTIONS, KeyPath, is_table, nearest
from mlxd.errors import ConfigError

_PREFIX = "MLXD_"


class Source(msgspec.Struct, frozen=True):
    """`label` names it beside a value, `where` in an error; relative paths start at `folder`."""

    label: str
    where: str
    folder: Path


class Setting(msgspec.Struct, frozen=True):
    """A value that a source sets; with `text`, a string that still has to be parsed."""

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
        ConfigError: a variable looks like a setting but is not.
    """
    for name in sorted(name for name in environ if name.startswith(_PREFIX)):
        where = f"environment variable {name}"
        section, underscores, key = name.removeprefix(_PREFIX).lower().partition("__")
        if underscores and section == PER_MODEL:
            raise ConfigError(f"{where}: [{PER_MODEL}] can be set in config.toml only")
        if underscores:
            yield Setting((section, key), environ[name], Source(name, where, Path.cwd()), text=True)
            continue
        section, _, key = section.partition("_")
        if section in SECTIONS:
            example = "__".join(nearest((section, key)) or (section, "key")).upper()
            raise ConfigError(f"{where}: not a setting; did you mean {_PREFIX}{example}?")


def from_flags(flags: Mapping[str, object]) -> Iterator[Setting]:
    """Yield what the command line sets: dotted keys and values, None for a flag not given."""
    source = Source("flag", "command line", Path.cwd())
    for name, value in flags.items():
        if value is not None:
            yield Setting(tuple(name.split(".")), value, source, text=isinstance(value, str))


def read_toml(file: Path, *, required: bool = False) -> dict[str, Any]:
    """Return the table in a TOML file; an empty one if it is absent and not `required`.

    Raises:
        ConfigError: the file is missing, cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(file.read_bytes().decode())
    except FileNotFoundError as error:
        if required:
            raise ConfigError(f"{file}: no such file") from error
        return {}
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error


def _leaves(path: KeyPath, value: object) -> Iterator[tuple[KeyPath, object]]:
    if is_table(path) and isinstance(value, dict):
        for name, entry in value.items():
            yield from _leaves((*path, name), entry)
    else:
        yield path, value
