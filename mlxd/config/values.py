"""How values are written in TOML, in the environment and on the command line.

The tree in `tree.py` holds plain ints, floats and strings. A key whose text means more than its
type says, such as "32MB", has a ValueType as metadata of its `Annotated` type.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import msgpack

from mlxd.units import parse_seconds

_BYTES = {
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
_BYTES_BY_LOWER_CASE = {unit.lower(): factor for unit, factor in _BYTES.items()}
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")
_SPACE_BEFORE_UNIT = re.compile(r"(?<=[0-9]) (?=[a-zµ])")
_LARGEST_SIZE = 2**63 - 1
_LONGEST_TIME = 365 * 24 * 3600.0
_SHORTEST_KEY = 8
_ORIGIN = re.compile(
    r"\*|null|file://|"
    r"[a-z][a-z0-9+.-]*://(?:\*|(?:\*\.)?[\w.-]+|\[[0-9a-f:.]+\])(?::(?:\d{1,5}|\*))?/?",
    re.ASCII | re.IGNORECASE,
)
_KEY = re.compile(rf"|[!-~]{{{_SHORTEST_KEY},}}")


def toml_text(value: object) -> str:
    """Return the TOML text of a string, number, boolean, list, or table of these."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_text, value)) + "]"
    if isinstance(value, dict):
        pairs = [f"{toml_text(name)} = {toml_text(entry)}" for name, entry in value.items()]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


class ValueType(msgspec.Struct, frozen=True):
    """How one kind of value is written; `expected` says what is allowed, after "expected".

    `read` turns what a source says into the value of the tree, and raises a ValueError if it is not
    allowed; a relative path starts at the folder. `write` returns the value's TOML text.
    """

    expected: str
    read: Callable[[Any, Path], object]
    write: Callable[[Any], str] = toml_text


def size(*, minimum: int = 1, automatic: bool = False) -> ValueType:
    """Return the type of a number of bytes: "32MB" (decimal), "1GiB" (binary) or a bare integer.

    If it is `automatic`, an empty string or 0 leaves the choice to the daemon.
    """

    def read(value: object, _folder: Path) -> int:
        number = 0 if automatic and value == "" else _parse_size(value)
        if not minimum <= number <= _LARGEST_SIZE:
            raise ValueError(value)
        return number

    def write(value: int) -> str:
        if value == 0:
            return '""' if automatic else "0"
        unit = next(unit for unit, factor in _BYTES.items() if value % factor == 0)
        return f'"{value // _BYTES[unit]}{unit}"'

    ending = ', or ""' if automatic else ", or 0" if minimum == 0 else " above 0"
    return ValueType(f'a size such as "32MB" or "1GiB"{ending}', read, write)


def duration(*, forever: bool = False, optional: bool = False) -> ValueType:
    """Return the type of a time in seconds: "30s", "1h30m" or a bare number.

    If it is `optional`, an empty string stands for None; with `forever`, -1 is allowed.
    """

    def read(value: object, _folder: Path) -> float | None:
        if optional and value == "":
            return None
        if forever and value in (-1, "-1"):
            return -1.0
        if isinstance(value, str):
            value = parse_seconds(_SPACE_BEFORE_UNIT.sub("", value.strip()))
        if (type(value) is int or type(value) is float) and 0 <= value <= _LONGEST_TIME:
            return float(value)
        raise ValueError(value)

    def write(value: float | None) -> str:
        if value is None or value <= 0:
            return '""' if value is None else '"-1"' if value else '"0s"'
        unit = next((unit for unit, factor in _SECONDS.items() if value % factor == 0), "ms")
        return f'"{value / _SECONDS[unit]:.12g}{unit}"'

    ending = (', or "-1" (forever)' if forever else "") + (', or ""' if optional else "")
    allowed = 'a duration of at most a year such as "30s", "5m" or "1h30m"'
    return ValueType(allowed + ending, read, write)


def optional(kind: Any, expected: str) -> ValueType:
    """Return the type of a value of the type `kind`; an empty string stands for None."""

    def read(value: object, _folder: Path) -> object:
        return None if value == "" else msgspec.convert(value, kind)

    def write(value: object) -> str:
        return '""' if value is None else toml_text(value)

    return ValueType(f'{expected}, or ""', read, write)


def _parse_size(value: object) -> int:
    if type(value) is int:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    factor = _BYTES_BY_LOWER_CASE.get(match[2].lower() or "b") if match else None
    if match is None or factor is None:
        raise ValueError(value)
    number = float(match[1]) * factor if "." in match[1] else int(match[1]) * factor
    if number != int(number):
        raise ValueError(value)
    return int(number)


def _read_path(value: object, folder: Path) -> str:
    """Return the absolute path; `~` is expanded."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(value)
    try:
        return str(folder / Path(value).expanduser())
    except RuntimeError as error:  # `~name` where no such user exists
        raise ValueError(value) from error


def _read_file(value: object, folder: Path) -> str:
    return "" if value == "" else _read_path(value, folder)


def _read_folders(value: object, folder: Path) -> list[str]:
    if not isinstance(value, list | tuple):
        raise ValueError(value)
    return [_read_path(entry, folder) for entry in value]


def _read_table(value: object, _folder: Path) -> dict[str, Any]:
    try:
        if isinstance(value, dict) and value == msgpack.decode(msgpack.encode(value)):
            return value
    except (OverflowError, RecursionError):
        pass
    raise ValueError(value)


def _read_secret(value: object, _folder: Path) -> str:
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise ValueError
    return value


def _read_origins(value: object, _folder: Path) -> list[str]:
    if not isinstance(value, list | tuple):
        raise ValueError(value)
    for entry in value:
        if not isinstance(entry, str) or not _ORIGIN.fullmatch(entry):
            raise ValueError(entry)
    return list(value)


FILE = ValueType('a path, or ""', _read_file)
"""A path. `~` is expanded, and a relative path starts at the folder of its source."""
FOLDERS = ValueType("a list of paths", _read_folders)
"""A list of such paths."""
ORIGINS = ValueType(
    'a list of origins such as "https://chat.example", "http://localhost:*", '
    '"chrome-extension://*", or "*" for all',
    _read_origins,
)
"""What a browser calls the place of a page, without a path; `*` is any host or port."""
TABLE = ValueType(
    "a table of strings, numbers, booleans, and lists and tables of these", _read_table
)
"""A table that an engine gets as it is: no dates, no integers of more than 64 bits."""
SECRET = ValueType(
    f'at least {_SHORTEST_KEY} printable ASCII characters without spaces, or ""',
    _read_secret,
    lambda value: '"***"' if value else '""',
)
"""A string that fits in an HTTP header and is never printed."""
ByteSize = Annotated[int, size()]
"""A number of bytes above 0."""
Duration = Annotated[float, duration()]
"""A time in seconds."""
