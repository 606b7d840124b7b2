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
    """One key of one section. `type` is its bare type; `value_type` is set if text means more."""

    path: KeyPath
    type: Any
    meta: msgspec.Meta
    value_type: ValueType | None
    default: object

    @property
    def secret(self) -> bool:
        """Whether the value must never be printed."""
        return self.value_type is SECRET

    @property
    def expected(self) -> str:
        """What is allowed, as the end of "expected …"."""
        return self.value_type.expected if self.value_type else _expected(self.type, self.meta)

    def read(self, value: object, folder: Path) -> object:
        """Turn a TOML value into the value of the tree; a relative path starts at `folder`.

        Raises:
            ValueError: the value is not as `expected` says.
        """
        if self.value_type:
            return self.value_type.read(value, folder)
        return self._convert(value, strict=True)

    def read_text(self, text: str, folder: Path) -> object:
        """Turn text of the environment or the command line into the value of the tree.

        Lists are separated by commas, and tables are `name=value` pairs separated by commas.

        Raises:
            ValueError: the text is not as `expected` says.
        """
        kind = get_origin(self.type) or self.type
        if kind is list:
            return self.read(_entries(text), folder)
        if kind is dict:
            return self.read(dict(map(_pair, _entries(text))), folder)
        if self.value_type:
            return self.value_type.read(text, folder)
        return self._convert(text, strict=False)

    def write(self, value: object) -> str:
        """Return the TOML text of a value of the tree, a mask for a secret."""
        return self.value_type.write(value) if self.value_type else toml_text(value)

    def _convert(self, value: object, *, strict: bool) -> object:
        try:
            return msgspec.convert(value, Annotated[self.type, self.meta], strict=strict)
        except msgspec.ValidationError as error:
            raise ValueError(value) from error


def _sections(owner: Section) -> dict[str, Section]:
    fields = {name: getattr(owner, name) for name in owner.__struct_fields__}
    return {name: value for name, value in fields.items() if isinstance(value, Section)}


def _keys(prefix: KeyPath, section: Section) -> Iterator[Key]:
    for field in msgspec.structs.fields(section):
        default = getattr(section, field.name)
        if isinstance(default, Section):
            continue
        bare, *metadata = get_args(field.type)
        yield Key(
            path=(*prefix, field.name),
            type=bare,
            meta=next(entry for entry in metadata if isinstance(entry, msgspec.Meta)),
            value_type=next((entry for entry in metadata if isinstance(entry, ValueType)), None),
            default=default,
        )


KEYS: dict[KeyPath, Key] = {
    key.path: key
    for name, section in _sections(Config()).items()
    for key in _keys((name,), section)
}
SECTIONS: dict[str, type[Section]] = {
    section: type(getattr(Config(), section)) for section, _ in KEYS
}
PER_MODEL = "model"
"""The section of `[model."some/id"]` tables."""
MODEL_KEYS: dict[KeyPath, Key] = {key.path: key for key in _keys((), ModelSettings())}
"""The keys of such a table. It may also have a table of GENERATION keys."""
GENERATION = "generation"


def dotted(path: KeyPath) -> str:
    """Return a path as TOML writes a dotted key."""
    return ".".join(part if _BARE.fullmatch(part) else toml_text(part) for part in path)


def find(path: KeyPath) -> Key | None:
    """Return the key at `path`, which may be one of a model; None if there is none."""
    if path[0] == PER_MODEL:
        own = path[2:]
        return KEYS.get(own) if own[:1] == (GENERATION,) else MODEL_KEYS.get(own)
    return KEYS.get(path)


def is_table(path: KeyPath) -> bool:
    """Whether a table of keys rather than a value belongs at `path`."""
    if path[:1] == (PER_MODEL,):
        return len(path) < 3 or path[2:] == (GENERATION,)
    return not path or (path[0] in SECTIONS and len(path) == 1)


def advice(path: KeyPath) -> str:
    """Return what an unknown `path` might have meant, or else the known keys."""
    near = nearest(path)
    if near is not None:
        return f"did you mean {dotted(near)}?"
    if path[0] == PER_MODEL:
        names = ", ".join(map(dotted, MODEL_KEYS))
        return f"{dotted(path[:2])} has {names}, and {GENERATION} with the keys of [{GENERATION}]"
    if path[0] in SECTIONS:
        names = ", ".join(name for section, name in KEYS if section == path[0])
        return f"[{path[0]}] has {names}"
    return f"the sections are {', '.join(SECTIONS)} and {PER_MODEL}"


def nearest(path: KeyPath) -> KeyPath | None:
    """Return the known path that an unknown one most likely means; None if nothing is near."""
    from difflib import get_close_matches  # only a mistake pays for this import

    known = list(KEYS)
    prefix: KeyPath = ()
    if path[0] == PER_MODEL:
        prefix, path = path[:2], path[2:]
        known = [*MODEL_KEYS, *(key for key in KEYS if key[0] == GENERATION)]
    elif len(path) == 1 and (found := get_close_matches(path[0], [*SECTIONS, PER_MODEL], 1, 0.75)):
        return (found[0],)
    if not path:
        return None
    whole = {dotted(key): key for key in known}
    if found := get_close_matches(dotted(path), whole, 1, 0.8):
        return prefix + whole[found[0]]
    names = {key[-1]: key for key in known}
    if found := get_close_matches(path[-1], names, 1, 0.75):
        return prefix + names[found[0]]
    return None


def _entries(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",")] if text else []


def _pair(entry: str) -> tuple[str, str]:
    name, equals, value = entry.partition("=")
    if not equals:
        raise ValueError(entry)
    return name.strip(), value.strip()


def _expected(kind: Any, meta: msgspec.Meta) -> str:
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
        return f"an integer from {meta.ge} to {meta.le}"
    if kind is float and meta.gt is not None:
        return f"a number above {meta.gt} and up to {meta.le}"
    if kind is float:
        return f"a number from {meta.ge} to {meta.le}"
    return "a non-empty string" if meta.min_length else "a string"
