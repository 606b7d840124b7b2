"""The files behind the log: the log itself, and standard error where a service manager keeps it."""

import contextlib
import logging
import os
import stat
import sys
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

_MODE = 0o600
_FOLDER_MODE = 0o700
_STDERR = 2
_LARGE = 65_536  # bytes


class PrivateRotatingFile(RotatingFileHandler):
    """Writes records to `file`, which only its owner may read.

    When the next record would make the file larger than `max_size` bytes, `mlxd.log` is renamed to
    `mlxd.log.1`, that one to `mlxd.log.2`, and so on; `keep` renamed files remain.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, file: Path, max_size: int, keep: int) -> None:
        file.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        super().__init__(
            file,
            maxBytes=max(1, max_size),  # 0 would mean no limit
            backupCount=keep,
            encoding="utf-8",
            errors="backslashreplace",
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Report a mistake in a logging call on standard error, but not, say, a full disk."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _MODE)
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)


def empty_if_large(descriptor: int = _STDERR) -> None:
    """Empty the file behind `descriptor` if it has grown large.

    launchd and systemd append standard error to a file and do not rotate it. The daemon prints only
    what it cannot log, but each failed start adds a line, and they restart it again and again.
    """
    with contextlib.suppress(OSError):  # closed
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size > _LARGE:
            os.ftruncate(descriptor, 0)
