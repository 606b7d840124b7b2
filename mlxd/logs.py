"""The daemon's log: where it goes and how a line looks. Prompts and answers are never in it."""

import logging
import logging.handlers
import sys
from pathlib import Path

import msgspec

from mlxd.config import Log
from mlxd.errors import StartupError

_BAD_UNICODE = "backslashreplace"
_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        encodable = {key: text.encode(errors=_BAD_UNICODE).decode() for key, text in line.items()}
        return msgspec.json.encode(encodable).decode()


def set_up(config: Log, file: Path | None) -> None:
    """Send every logger of this process to `file`, rotated, or to standard error for None.

    Raises:
        StartupError: the file cannot be written.
    """
    handler: logging.Handler
    if file is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handler = logging.handlers.RotatingFileHandler(
                file,
                maxBytes=config.max_size,
                backupCount=config.keep,
                encoding="utf-8",
                errors=_BAD_UNICODE,
            )
        except OSError as error:
            raise StartupError(f"log {file} cannot be written: {error.strerror}") from error
    handler.setFormatter(_JsonFormatter() if config.format == "json" else logging.Formatter(_TEXT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
