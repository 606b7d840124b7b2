"""The files of the log, newest first: `mlxd.log`, `mlxd.log.1`, `mlxd.log.2` …

They may be renamed while one looks, each to the next number (see `mlxd.logs.rotation`).
"""

import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from mlxctl.errors import CommandFailed

_BLOCK_BYTES = 65536
_MOST = 1000  # what log.keep may be at most


def opened(file: Path) -> Iterator[BufferedReader]:
    """Give the files that there are, each once; who asks for one has to close it.

    What is given is older than what was given before it, however often files are put aside between
    the two. A file that is made after the first one was given is left out.

    Raises:
        CommandFailed: one cannot be read.
    """
    before: os.stat_result | None = None
    place = last = -1  # where the file before was seen; the highest number there is
    number = 0
    while number <= last or number <= (last := _last_number(file)):
        log = _open(_numbered(file, number))
        if log is None:
            number += 1
            continue
        status = os.fstat(log.fileno())
        if before is not None and os.path.samestat(status, before):
            log.close()
            place, number = number, number + 1
        elif before is None or _is_at(_numbered(file, place), before):
            yield log
            before, place, number = status, number, number + 1
        else:
            # The one before has moved on, so that this one may be newer: look where it is now.
            log.close()
            place = number = place + 1


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
    return _is_at(file, os.fstat(log.fileno()))


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


def _numbered(file: Path, number: int) -> Path:
    return file.with_name(f"{file.name}.{number}") if number else file


def _last_number(file: Path) -> int:
    """Give the highest number of a file that was put aside, 0 where none was."""
    try:
        names = os.listdir(file.parent)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise CommandFailed(f"{file.parent}: {error.strerror}") from error
    prefix = f"{file.name}."
    ends = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    numbers = [int(end) for end in ends if end.isascii() and end.isdecimal()]
    return max((number for number in numbers if number <= _MOST), default=0)


def _is_at(name: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(name.stat(), status)
    except OSError:
        return False


def _open(name: Path) -> BufferedReader | None:
    try:
        return name.open("rb")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandFailed(f"{name}: {error.strerror}") from error
