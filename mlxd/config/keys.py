"""Every key of the tree as data, taken from the Structs, and the nearest one to a misspelling.

A key's path is a tuple: `("server", "port")`, `("model", "some/id", "generation", "top_p")`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from mlxd.config.tree import Config, ModelSettings, Section
from mlxd.config.values import SECRET, ValueType, toml_text

KeyPath = tuple[str, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Key(msgspec.Struct, frozen=True):
    """One key of one section."""

    path: KeyPath
    type: Any
    description: str
    value_type: ValueType
    default: object

    @property
    def secret(self) -> bool:
        """Whether the value must never be printed."""
        return self.value_type is SECRET

    def read(self, value: object, folder: Path, *, text: bool = False) -> object:
        """Turn what a source says into the value of the tree; a relative path starts at `folder`.

        In `text`, lists are separated by commas, and tables are `name=value,name=value`.

        Raises:
            ValueError, msgspec.ValidationError: the value is not as `value_type.expected` says.
        """
        return self.value_type.read(self._parse(str(value)) if text else value, folder)

    def _parse(self, text: str) -> object:
        text.encode()  # its UnicodeEncodeError is a ValueError
        kind = get_origin(self.type) or self.type
        entries = [entry.strip() for entry in text.split(",")] if text else []
        if kind is list:
            return entries
        if kind is dict:
            pairs = (entry.partition("=") for entry in entries)
            return {name.strip(): value.strip() for name, _, value in pairs}
        try:
            return msgspec.convert(text, self.type, strict=False)
        except msgspec.ValidationError:  # its own type reads it, or refuses it
            return text


def _keys(prefix: KeyPath, section: Section) -> Iterator[Key]:
    for field in msgspec.structs.fields(section):
        path, default = (*prefix, field.name), getattr(section, field.name)
        if isinstance(default, Section):
            yield from _keys(path, default)
        elif get_origin(field.type) is Annotated:
            bare, *metadata = get_args(field.type)
            (description,) = (entry for entry in metadata if isinstance(entry, str))
            special = (entry for entry in metadata if isinstance(entry, ValueType))
            yield Key(path, bare, description, next(special, None) or _plain(field.type), default)


def _plain(annotated: Any) -> ValueType:
    """Return the value type of a key whose values mean just what the type says."""
    bare, *metadata = get_args(annotated)
    limits = next((entry for entry in metadata if isinstance(entry, msgspec.Meta)), msgspec.Meta())
    return ValueType(_expected(bare, limits), lambda value, _: msgspec.convert(value, annotated))


def _expected(kind: Any, limits: msgspec.Meta) -> str:
    origin = get_origin(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(toml_text, get_args(kind)))
    if origin is list:
        return "a list of non-empty strings"
    if origin is dict:
        return "a table of non-empty names and values (name=value,name=value outside TOML)"
    if kind is bool:
        return "true or false"
    if kind is int:
        return f"an integer from {limits.ge} to {limits.le}"
    if kind is float and limits.gt is not None:
        return f"a number above {limits.gt} and up to {limits.le}"
    if kind is float:
        return f"a number from {limits.ge} to {limits.le}"
    return "a non-empty string" if limits.min_length else "a string"


KEYS = {key.path: key for key in _keys((), Config())}
SECTIONS: dict[str, type[Section]] = {name: type(getattr(Config(), name)) for name, _ in KEYS}
PER_MODEL = "model"
"""The section of `[model."some/id"]` tables."""
MODEL_KEYS = {key.path: key for key in _keys((), ModelSettings())}
"""The keys of such a table, those of its table `generation` included."""


def dotted(path: KeyPath) -> str:
    """Return a path as TOML writes a dotted key."""
    return ".".join(part if _BARE.fullmatch(part) else toml_text(part) for part in path)


def find(path: KeyPath) -> Key | None:
    """Return the key at `path`, which may be one of a model; None if there is none."""
    return MODEL_KEYS.get(path[2:]) if path[0] == PER_MODEL else KEYS.get(path)


def is_table(path: KeyPath) -> bool:
    """Whether a table of keys rather than a value belongs at `path`."""
    if path[:1] == (PER_MODEL,):
        return len(path) < 3 or path[2:] == ("generation",)
    return not path or (path[0] in SECTIONS and len(path) == 1)


def advice(path: KeyPath) -> str:
    """Return what an unknown `path` might have meant, or else the known keys."""
    if near := nearest(path):
        return f"did you mean {dotted(near)}?"
    if path[0] == PER_MODEL:
        table, names = dotted(path[:2]), [key[0] for key in MODEL_KEYS]
    elif path[0] in SECTIONS:
        table, names = path[0], [name for section, name in KEYS if section == path[0]]
    else:
        return f"the sections are {', '.join(SECTIONS)} and {PER_MODEL}"
    return f"[{table}] has {', '.join(dict.fromkeys(names))}"


def nearest(path: KeyPath) -> KeyPath | None:
    """Return the known path that an unknown one most likely means; None if nothing is near."""
    from difflib import get_close_matches  # only a mistake pays for this import

    if path[0] == PER_MODEL:
        known = [(*path[:2], *key) for key in MODEL_KEYS]
    else:
        known = [*KEYS, *((section,) for section in (*SECTIONS, PER_MODEL))]
    names = {key[-1]: key for key in known}
    found = get_close_matches(path[-1], names, 1, 0.75)
    return names[found[0]] if found else None
