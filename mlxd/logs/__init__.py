"""The daemon's log: where it goes and how a line looks. It never contains prompts or answers.

files    the log file, rotated by size
formats  a line of text, or one JSON object per line
"""

import logging
import sys
from pathlib import Path

from mlxd.config import LogConfig
from mlxd.errors import StartupError
from mlxd.logs.files import PrivateRotatingFile, empty_if_large
from mlxd.logs.formats import JsonFormatter, TextFormatter

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
            handler = PrivateRotatingFile(file, config.max_size, config.keep)
        except OSError as error:
            raise StartupError(f"log {file} cannot be written: {error.strerror}") from error
        empty_if_large()
    handler.setFormatter(JsonFormatter() if config.format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())
    logging.captureWarnings(capture=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
