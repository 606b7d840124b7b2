"""The end of the daemon's log, for the page."""

import asyncio
import os
from pathlib import Path

from mlxd.page_api import LogTail

_BYTES = 65_536


class LogReader:
    """Reads the log `file`, which may be missing: the daemon then logs elsewhere."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def tail(self) -> LogTail:
        """Return the last lines, 64 KiB of them."""
        lines = await asyncio.to_thread(self._lines)
        return LogTail(file=str(self._file), lines=lines)

    def _lines(self) -> list[str]:
        try:
            with self._file.open("rb") as log:
                start = max(0, log.seek(0, os.SEEK_END) - _BYTES)
                log.seek(start)
                lines = log.read(_BYTES).decode(errors="replace").splitlines()
        except OSError:
            return []
        return lines[1:] if start else lines  # the first one has lost its beginning
