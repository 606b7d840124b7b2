"""The daemon's log: where it goes and how a line looks. Prompts and answers are never in it.

formats         a line of text, or one JSON object a line
rotation        the file, put aside when it is full
standard_error  what is printed beside the log, and has nobody else who keeps it small
"""

import logging
import sys
from pathlib import Path

from mlxd.config import LogConfig
from mlxd.errors import StartupError
from mlxd.logs import standard_error
from mlxd.logs.formats import JsonFormatter, TextFormatter
from mlxd.logs.rotation import RotatingFile

__all__ = ["set_up"]


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
            handler = RotatingFile(file, config.max_size, config.keep)
        except OSError as error:
            raise StartupError(f"log {file} cannot be written: {error.strerror}") from error
        standard_error.keep_small()
    handler.setFormatter(JsonFormatter() if config.format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())
    logging.captureWarnings(capture=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
