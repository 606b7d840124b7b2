"""How a value is written in TOML, in the environment and on the command line, and read back.

The tree in `tree.py` holds plain ints, floats and strings, because msgspec encodes no subclass of
them. A key whose text means more than its type says carries a notation of this module as metadata
of its `Annotated` type.
"""

import math
import re
from pathlib import Path
from typing import Annotated, Protocol, runtime_checkable

import msgspec

_UNITS = {
    "TB": 10**12,
    "GB": 10**9,
    "MB": 10**6,
    "kB": 10**3,
    "TiB": 2**40,
    "GiB": 2**30,
    "MiB": 2**20,
    "KiB": 2**10,
    "B": 1,
}
_UNITS_BY_LOWER_CASE = {unit.lower(): factor for unit, factor in _UNITS.items()}
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_QUANTITY = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")
_LARGEST_SIZE = 2**63 - 1
_LONGEST_TIME = 365 * 24 * 3600.0
_KEY_CHARACTERS = re.compile(r"[!-~]*")
_SHORTEST_KEY = 8
_JSON_LEVELS = 16


@runtime_checkable
class ValueType(Protocol):
    """How one key's value is read and written."""

    @property
    def expected(self) -> str:
        """What is allowed, as the end of "expected …"."""

    def read(self, value: object, folder: Path) -> object:
        """Turn what a source holds into the value of the tree.

        A relative path starts at `folder`.

        Raises:
            ValueError: the value is not as `expected` says.
        """

    def write(self, value: object) -> str:
        """Give the TOML text of a value of the tree."""


class Size(msgspec.Struct, frozen=True):
    """A number of bytes: "32MB" (decimal), "1GiB" (binary) or a bare integer.

    Where it is `automatic`, the empty text, or 0, leaves the choice to the daemon.
    """

    minimum: int = 1
    automatic: bool = False

    @property
    def expected(self) -> str:
        """What is allowed, as the end of "expected …"."""
        allowed = 'a size such as "32MB" or "1GiB"'
        if self.automatic:
            return allowed + ', or ""'
        return allowed + (", or 0" if self.minimum == 0 else " above 0")

    def read(self, value: object, folder: Path) -> int:  # noqa: ARG002
        """Give the number of bytes; a fraction of a unit must come to whole bytes."""
        if self.automatic and value == "":
            return 0
        if isinstance(value, str):
            number, unit = _split(value)
            factor = _UNITS_BY_LOWER_CASE.get(unit.lower() or "b")
            if factor is None:
                raise ValueError(value)
            size = float(number) * factor if "." in number else int(number) * factor
            if size != int(size):
                raise ValueError(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            size = value
        else:
            raise ValueError(value)
        if not self.minimum <= size <= _LARGEST_SIZE:
            raise ValueError(value)
        return int(size)

    def write(self, value: object) -> str:
        """Give the size in the largest unit that divides it, decimal ones first."""
        if not isinstance(value, int) or value == 0:
            return '""' if self.automatic else str(value)
        unit = next(unit for unit, factor in _UNITS.items() if value % factor == 0)
        return f'"{value // _UNITS[unit]}{unit}"'


class Time(msgspec.Struct, frozen=True):
    """A time in seconds: "30s", "5m", "1h", "250ms" or a bare number; -1 may mean for ever.

    Where it is `optional`, the empty text stands for None.
    """

    forever: bool = False
    optional: bool = False

    @property
    def expected(self) -> str:
        """What is allowed, as the end of "expected …"."""
        allowed = 'a time of at most a year such as "30s", "5m" or "1h"'
        allowed += ', or "-1" for ever' if self.forever else ""
        return allowed + (', or ""' if self.optional else "")

    def read(self, value: object, folder: Path) -> float | None:  # noqa: ARG002
        """Give the number of seconds, -1 for ever."""
        if self.optional and value == "":
            return None
        if self.forever and value in (-1, "-1"):
            return -1.0
        if isinstance(value, str):
            number, unit = _split(value)
            factor = _SECONDS.get(unit or "s")
            if factor is None:
                raise ValueError(value)
            time = float(number) * factor
        elif isinstance(value, int | float) and not isinstance(value, bool):
            time = float(value)
        else:
            raise ValueError(value)
        if not 0 <= time <= _LONGEST_TIME:
            raise ValueError(value)
        return time

    def write(self, value: object) -> str:
        """Give the time in the largest unit that divides it."""
        if value is None:
            return '""'
        if not isinstance(value, int | float) or value < 0:
            return '"-1"'
        unit = next((unit for unit, factor in _SECONDS.items() if value % factor == 0), "ms")
        return f'"{value / _SECONDS[unit]:.12g}{unit}"' if value else '"0s"'


class File(msgspec.Struct, frozen=True):
    """A path: `~` is expanded, a relative one starts at the folder of its source."""

    @property
    def expected(self) -> str:
        """What is allowed, as the end of "expected …"."""
        return 'a path, or ""'

    def read(self, value: object, folder: Path) -> str:
        """Give the absolute path; the empty string stays empty."""
        return _path(value, folder) if value != "" else ""

    def write(self, value: object) -> str:
        """Give the path as a TOML string."""
        return toml_text(value)


class FolderList(msgspec.Struct, frozen=True):
    """A list of paths, each read as `File` does; none may be empty."""

    @property
    def expected(self) -> str:
        """What is allowed, as the end of "expected …"."""
        return "a list of paths"

    def read(self, value: object, folder: Path) -> list[str]:
        """Give the absolute paths."""
        if not isinstance(value, list | tuple):
            raise ValueError(value)
        return [_path(entry, folder) for entry in value]

    def write(self, value: object) -> str:
        """Give the paths as a TOML array."""
        return toml_text(value)


class Json(msgspec.Struct, frozen=True):
    """A table of what JSON knows too: no dates, no infinite numbers, no bottomless nesting."""

    @property
    def expected(self) -> str:
        """What is allowed, as the end of "expected …"."""
        return "a table of texts, numbers, truth values, and lists and tables of these"

    def read(self, value: object, folder: Path) -> object:  # noqa: ARG002
        """Give the table as it is."""
        if not isinstance(value, dict) or not _is_json(value, _JSON_LEVELS):
            raise ValueError(value)
        return value

    def write(self, value: object) -> str:
        """Give the table as an inline one."""
        return toml_text(value)


class Secret(msgspec.Struct, frozen=True):
    """Text that a program prints nowhere, fit for an HTTP header."""

    @property
    def expected(self) -> str:
        """What is allowed, as the end of "expected …"."""
        return f'at least {_SHORTEST_KEY} printable ASCII characters without spaces, or ""'

    def read(self, value: object, folder: Path) -> str:  # noqa: ARG002
        """Give the text as it is."""
        if not isinstance(value, str) or not _KEY_CHARACTERS.fullmatch(value):
            raise ValueError
        if 0 < len(value) < _SHORTEST_KEY:
            raise ValueError
        return value

    def write(self, value: object) -> str:
        """Give a mask, which tells only whether there is a secret."""
        return '"***"' if value else '""'


ByteSize = Annotated[int, Size()]
"""A number of bytes above 0."""
Duration = Annotated[float, Time()]
"""A time in seconds."""


def toml_text(value: object) -> str:
    """Give the TOML text of a string, number, truth value, list, or table of these."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_text, value)) + "]"
    if isinstance(value, dict):
        pairs = [f"{toml_text(name)} = {toml_text(entry)}" for name, entry in value.items()]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


def _is_json(value: object, levels: int) -> bool:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return levels > 0 and all(_is_json(entry, levels - 1) for entry in inner)
    if isinstance(value, int):
        return -_LARGEST_SIZE <= value <= _LARGEST_SIZE
    return isinstance(value, str) or (isinstance(value, float) and math.isfinite(value))


def _split(text: str) -> tuple[str, str]:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    return match[1], match[2]


def _path(value: object, folder: Path) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(value)
    try:
        return str(folder / Path(value).expanduser())
    except RuntimeError as error:  # `~name` of nobody
        raise ValueError(value) from error
