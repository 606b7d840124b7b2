"""The daemon's log: where it goes and how a line looks. It never contains prompts or answers.

A line is text for people, or one JSON object; `mlxctl.logs` reads both. A record may carry fields
for programs, `extra={"details": {…}}`. JSON shows all of them; text shows those that say what the
record is about, after the name of the logger:

    2026-11-23 15:53:25.123+01:00 INFO    mlxd.http request=req-1: GET /health 200 1.0ms
"""

import contextlib
import logging
import os
import re
import stat
import sys
from datetime import datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from urllib.parse import quote

import msgspec

from mlxd.config import LogConfig
from mlxd.errors import StartupError

_SUBJECTS = ("request", "engine")
_LONGEST_MESSAGE = 32_000  # characters
_BAD_UNICODE = "backslashreplace"
_ESCAPED = re.compile(r"[%\s]")
_STDERR = 2
_LARGE = 65_536  # bytes


def set_up(config: LogConfig, file: Path | None) -> None:
    """Send every logger of this process to `file`, rotated, or to standard error for None.

    Raises:
        StartupError: the file cannot be written.
    """
    handler: logging.Handler
    if file is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        try:
            handler = PrivateRotatingFile(file, config.max_size, config.keep)
        except OSError as error:
            raise StartupError(f"log {file} cannot be written: {error.strerror}") from error
        empty_if_large()
    handler.setFormatter(JsonFormatter() if config.format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())
    logging.captureWarnings(capture=True)
    for talkative in ("asyncio", "uvicorn"):
        logging.getLogger(talkative).setLevel(logging.WARNING)


def empty_if_large(descriptor: int = _STDERR) -> None:
    """Empty the file behind `descriptor` if it has grown large.

    launchd and systemd append standard error to a file and do not rotate it. The daemon prints only
    what it cannot log, but each failed start adds a line, and they restart it again and again.
    """
    with contextlib.suppress(OSError):  # closed
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size > _LARGE:
            os.ftruncate(descriptor, 0)


class PrivateRotatingFile(RotatingFileHandler):
    """Writes records to `file`, which only its owner may read.

    When the next record would make the file larger than `max_size` bytes, `mlxd.log` is renamed to
    `mlxd.log.1`, that one to `mlxd.log.2`, and so on; `keep` renamed files remain.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, file: Path, max_size: int, keep: int) -> None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lost, self._fault = 0, ""
        super().__init__(file, "a", max_size, keep, encoding="utf-8", errors=_BAD_UNICODE)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; after a full disk, first write how many were lost.

        A file that was renamed or removed, perhaps with its folder, is made again.
        """
        if self._moved():
            self._reopen()
        lost, self._lost = self._lost, 0
        if lost:
            self._end_line()
            super().emit(_note(f"{lost} lines before this one could not be written: {self._fault}"))
            if self._lost:
                self._lost += lost
                return
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Report a mistake in a logging call on standard error, but not, say, a full disk."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._lost += 1
        self._fault = error.strerror or str(error)
        # What did not fit waits in the buffer, and would be tried again with the next record.
        stream, self.stream = self.stream, None
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()

    def _end_line(self) -> None:
        """End a line of which only the beginning could be written."""
        with contextlib.suppress(OSError), open(self.baseFilename, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if file.read(1) not in (b"", b"\n"):
                file.write(b"\n")

    def _moved(self) -> bool:
        try:
            there = os.stat(self.baseFilename)
            ours = os.fstat(self.stream.fileno()) if self.stream else None
        except OSError:
            return True
        return ours is not None and (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def _reopen(self) -> None:
        """Make the file again; where that fails, go on with the one that is open."""
        try:
            Path(self.baseFilename).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._open()
        except OSError:
            return
        if self.stream:
            with contextlib.suppress(OSError):
                self.stream.close()
        self.stream = fresh

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self.baseFilename, flags, 0o600)
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)


def _note(message: str) -> logging.LogRecord:
    return logging.LogRecord("mlxd.logs", logging.WARNING, __file__, 0, message, None, None)


class TextFormatter(logging.Formatter):
    """The local time, the level, the logger and the message; a traceback follows on more lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the whole record, cut off where it is very long."""
        details = getattr(record, "details", {})
        about = "".join(
            f" {name}={_escaped(str(details[name]))}" for name in _SUBJECTS if name in details
        )
        head = f"{_time(record, ' ')} {record.levelname:<7} {record.name}{about}"
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return _shortened(f"{head}: {record.getMessage()}{trace}")


class JsonFormatter(logging.Formatter):
    """One object per line, with the details of the record in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        line: dict[str, object] = {
            "time": _time(record, "T"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "details", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode({key: _encodable(value) for key, value in line.items()}).decode()


def _time(record: logging.LogRecord, separator: str) -> str:
    return datetime.fromtimestamp(record.created).astimezone().isoformat(separator, "milliseconds")


def _escaped(value: str) -> str:
    return _ESCAPED.sub(lambda found: quote(found[0]), value)


def _shortened(text: str) -> str:
    cut = len(text) - _LONGEST_MESSAGE
    return text if cut <= 0 else f"{text[:_LONGEST_MESSAGE]}… ({cut} characters more)"


def _encodable(value: object) -> object:
    if not isinstance(value, str):
        return value
    return _shortened(value).encode(errors=_BAD_UNICODE).decode()
