"""A log file that is put aside when it is full: `mlxd.log` becomes `mlxd.log.1`, that one `.2` …

What readers such as `mlxctl logs -f` may rely on: a record is written whole, by one write, or not
at all; a file that was put aside is not written to any more; numbers only grow.
"""

import contextlib
import errno
import logging
import os
from pathlib import Path

_MODE = 0o600
_FOLDER_MODE = 0o700
_MOST = 1000  # what log.keep may be at most; higher numbers are not of this log
_BAD_UNICODE = "backslashreplace"


class RotatingFile(logging.Handler):
    """Writes records to `file`, of at most `max_size` bytes, and keeps `keep` older ones.

    Where the disk is full, records are lost, and the next one that can be written says how many.
    Where the file cannot be put aside it is emptied, since it has to stay within its limits. One
    that somebody else has moved or removed, with its folder or alone, is made anew. A record that
    is longer than `max_size` has a file for itself.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, file: Path, max_size: int, keep: int) -> None:
        super().__init__()
        self._file = file
        self._max_size = max_size
        self._keep = keep
        self._lost = 0
        self._fault = ""
        self._descriptor = self._open()
        self._remove_surplus()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            line = self._line(record)
        except Exception:  # noqa: BLE001  a mistake in a log line is no reason to fail a request
            self.handleError(record)
            return
        try:
            self._write(self._remark() + line)
        except OSError as error:
            self._lost += 1
            self._fault = error.strerror or str(error)
        else:
            self._lost = 0

    def close(self) -> None:
        """Close the file; what is logged afterwards is lost."""
        super().close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _line(self, record: logging.LogRecord) -> bytes:
        return self.format(record).encode(errors=_BAD_UNICODE) + b"\n"

    def _remark(self) -> bytes:
        """Give a line on what was lost, nothing where nothing was."""
        if not self._lost:
            return b""
        return self._remark_line("%d lines of this log were lost: %s", self._lost, self._fault)

    def _remark_line(self, message: str, *arguments: object) -> bytes:
        level = logging.WARNING
        record = logging.LogRecord("mlxd.logs", level, "", 0, message, arguments, None)
        return self._line(record)

    def _write(self, data: bytes) -> None:
        if not self._is_in_place():
            self._reopen()
        size = os.fstat(self._descriptor).st_size
        if size and size + len(data) > self._max_size:
            data = self._put_aside() + data
            size = os.fstat(self._descriptor).st_size
        written = os.write(self._descriptor, data)
        if written < len(data):
            os.ftruncate(self._descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._file), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _put_aside(self) -> bytes:
        """Begin a new file; give what is to be said in it, where the old one had to be emptied."""
        try:
            for number in range(self._keep, 0, -1):
                if os.path.lexists(self._path(number - 1)):
                    os.replace(self._path(number - 1), self._path(number))
        except OSError as error:
            os.ftruncate(self._descriptor, 0)
            return self._remark_line(
                "this log was emptied: it cannot be renamed: %s", error.strerror
            )
        self._reopen()
        return b""

    def _reopen(self) -> None:
        before, self._descriptor = self._descriptor, self._open()
        os.close(before)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            return os.open(self._file, flags, _MODE)
        except FileNotFoundError:
            self._file.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            return os.open(self._file, flags, _MODE)

    def _path(self, number: int) -> str:
        return f"{self._file}.{number}" if number else str(self._file)

    def _remove_surplus(self) -> None:
        """Remove files of a time when more of them were kept."""
        for other in self._file.parent.glob(f"{self._file.name}.*"):
            number = other.name.removeprefix(f"{self._file.name}.")
            if number.isascii() and number.isdecimal() and self._keep < int(number) <= _MOST:
                with contextlib.suppress(OSError):  # a folder, say, which harms nobody
                    other.unlink()
