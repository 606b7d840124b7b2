"""The files of the log, newest first: `mlxd.log`, `mlxd.log.1`, `mlxd.log.2` and so on."""

import os
from collections.abc import Iterator
from io import BufferedReader
from itertools import count
from pathlib import Path

from mlxctl.errors import CommandFailed
from mlxctl.logs.entry import LogEntry, is_head

_BLOCK_BYTES = 65_536


def entries_backwards(file: Path, end: int | None = None) -> Iterator[LogEntry]:
    """Yield the entries of the log `file` and of its rotated files, the latest first.

    `end` is the position in `file` to start from, by default its end.

    Raises:
        CommandFailed: a file cannot be read.
    """
    for number in count():
        log = _open(file.with_name(f"{file.name}.{number}") if number else file)
        if log is None and number:
            return
        if log is not None:
            with log:
                size = log.seek(0, os.SEEK_END)
                yield from _entries(lines_backwards(log, size if number or end is None else end))


def _entries(lines: Iterator[bytes]) -> Iterator[LogEntry]:
    """Group `lines`, which come backwards, into entries."""
    entry: list[bytes] = []
    for line in lines:
        entry.append(line)
        if is_head(line):
            yield LogEntry(entry[::-1])
            entry = []
    yield from (LogEntry([line]) for line in entry)  # they belong to no entry


def lines_backwards(log: BufferedReader, end: int) -> Iterator[bytes]:
    """Yield the lines of `log` up to position `end`, the last one first, without their ends."""
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


class Tail:
    """Reads what is added to the log `file` from now on.

    Like `tail -F` it follows the name: when another file has taken it, or the file has become
    shorter, it reads the rest of the old file, and then the new one from its beginning.

    Raises:
        CommandFailed: the file cannot be read.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._log = _open(file)
        self._line = b""  # the beginning of a line
        self._pending: list[bytes] = []  # lines of an entry that may go on
        self.start = self._log.seek(0, os.SEEK_END) if self._log is not None else 0

    def read(self) -> list[LogEntry]:
        """Return the entries added since the last call, as far as they are known to be complete.

        The last entry is complete when nothing has followed it by the next call.
        """
        lines = self._new_lines()
        entries = [*_entries(reversed(self._pending + lines))][::-1]
        self._pending = entries.pop().lines if entries and (lines or self._line) else []
        return entries

    def close(self) -> None:
        """Close the file."""
        if self._log is not None:
            self._log.close()

    def _new_lines(self) -> list[bytes]:
        # Opened before the rest of the old file is read, so that nothing more is written to that.
        successor = self._successor()
        lines = self._complete_lines()
        if successor is not None:
            if self._line:
                lines.append(self._line)
                self._line = b""
            self.close()
            self._log = successor
            lines += self._complete_lines()
        return lines

    def _complete_lines(self) -> list[bytes]:
        data = self._log.read() if self._log is not None else b""
        *lines, self._line = (self._line + data).split(b"\n")
        return lines

    def _successor(self) -> BufferedReader | None:
        """Open the file that has the name now; None if it is still the same."""
        log = _open(self._file)
        if log is None or self._log is None:
            return log
        status = os.fstat(log.fileno())
        same = os.path.samestat(status, os.fstat(self._log.fileno()))
        if not same or status.st_size < self._log.tell():
            return log
        log.close()
        return None


def _open(file: Path) -> BufferedReader | None:
    try:
        return file.open("rb")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandFailed(f"{file}: {error.strerror}") from error
