"""The files of the log, newest first: `mlxd.log`, `mlxd.log.1`, `mlxd.log.2` …

They may be renamed while one looks, each to the next number (see `mlxd.logs.rotation`). Whoever
opens them in the order of their numbers may meet one twice, but misses none.
"""

import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from mlxctl.errors import CommandFailed

_BLOCK_BYTES = 65536
_MEANWHILE = 2  # how many more there may be by the time that one looks


def opened(file: Path) -> Iterator[BufferedReader]:
    """Give the files that there are; who asks for one has to close it.

    Raises:
        CommandFailed: one cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    for name in _names(file):
        log = _open(name)
        if log is None:
            continue
        status = os.fstat(log.fileno())
        if (status.st_dev, status.st_ino) in seen:
            log.close()
            continue
        seen.add((status.st_dev, status.st_ino))
        yield log


def newer(file: Path, log: BufferedReader) -> tuple[list[BufferedReader], bool]:
    """Give the files after `log`, the oldest of them first, and whether there may be a gap.

    Raises:
        CommandFailed: one cannot be read.
    """
    found: list[BufferedReader] = []
    ours = os.fstat(log.fileno())
    for other in opened(file):
        if os.path.samestat(os.fstat(other.fileno()), ours):
            other.close()
            return found[::-1], False
        found.append(other)
    # It has been removed, as the oldest one is; or by somebody, and then there may be older ones.
    for other in found[:]:
        if os.fstat(other.fileno()).st_mtime_ns < ours.st_mtime_ns:
            found.remove(other)
            other.close()
    return found[::-1], len(found) > 1


def is_current(file: Path, log: BufferedReader) -> bool:
    """Whether `log` is what the daemon writes to."""
    try:
        return os.path.samestat(os.fstat(log.fileno()), file.stat())
    except FileNotFoundError:
        return False


def end_of_lines(log: BufferedReader) -> int:
    """Give where the last whole line of `log` ends."""
    position = log.seek(0, os.SEEK_END)
    while position > 0:
        start = max(0, position - _BLOCK_BYTES)
        log.seek(start)
        newline = log.read(position - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0


def lines_backwards(log: BufferedReader, end: int) -> Iterator[bytes]:
    """Give the lines of `log` up to `end`, the last one first, without their ends."""
    rest = b""
    position = end
    while position > 0:
        start = max(0, position - _BLOCK_BYTES)
        log.seek(start)
        block = log.read(position - start)
        if position == end:
            block = block.removesuffix(b"\n")
        first, *lines = (block + rest).split(b"\n")
        yield from reversed(lines)
        rest, position = first, start
    if end > 0:
        yield rest


def _names(file: Path) -> list[Path]:
    try:
        others = [name.removeprefix(f"{file.name}.") for name in os.listdir(file.parent)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CommandFailed(f"{file.parent}: {error.strerror}") from error
    last = max((int(name) for name in others if name.isascii() and name.isdecimal()), default=0)
    numbers = range(1, last + _MEANWHILE + 1)
    return [file, *(file.with_name(f"{file.name}.{number}") for number in numbers)]


def _open(name: Path) -> BufferedReader | None:
    try:
        return name.open("rb")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandFailed(f"{name}: {error.strerror}") from error
