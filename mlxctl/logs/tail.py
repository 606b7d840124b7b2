"""What is logged from a place on: every line once, through rotations and restarts."""

import os
from collections import deque
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

from mlxctl.logs.files import is_current, newer, opened

_BLOCK_BYTES = 1 << 20


class Tail:
    """Reads on in `log`, from where it is, and in the files after it.

    Without `log` it begins with the first file that there will be. Where files may have been
    removed before they could be read, `warn` is given the last line before them.
    """

    def __init__(
        self, file: Path, log: BufferedReader | None, warn: Callable[[bytes], None]
    ) -> None:
        self._file = file
        self._logs = deque([log] if log else [])
        self._warn = warn
        self._latest = b""
        self._begun = b""  # of a line that is not complete

    def read(self) -> list[bytes] | None:
        """Give the next lines, without their ends; None where there are none yet.

        Raises:
            CommandFailed: a file cannot be read.
        """
        if not self._logs:
            self._logs.extendleft(opened(self._file))
        if not self._logs:
            return None
        log = self._logs[0]
        # Looked at before reading: what was written up to the replacement is then read.
        done_with = len(self._logs) > 1 or not is_current(self._file, log)
        if os.fstat(log.fileno()).st_size < log.tell():
            self._step_back(log)
        if data := log.read(_BLOCK_BYTES):
            *lines, self._begun = (self._begun + data).split(b"\n")
            self._latest = lines[-1] if lines else self._latest
            return lines
        if not done_with or not self._go_on_after(log):
            return None
        last, self._begun = self._begun, b""
        return [last] if last else []

    @property
    def in_a_line(self) -> bool:
        """Whether a line has begun, so that the entry before it may go on."""
        return bool(self._begun)

    def close(self) -> None:
        """Close what is open."""
        while self._logs:
            self._logs.popleft().close()

    def _step_back(self, log: BufferedReader) -> None:
        """Go to where the log is read from, now that it has become shorter."""
        # The daemon takes back a line that did not fit on the disk; all else is an emptied file.
        end_of_lines = log.tell() - len(self._begun)
        self._begun = b""
        log.seek(end_of_lines if os.fstat(log.fileno()).st_size >= end_of_lines else 0)

    def _go_on_after(self, log: BufferedReader) -> bool:
        """Turn to the next file, and say whether there is one already."""
        if len(self._logs) == 1:
            logs, gap = newer(self._file, log)
            self._logs.extend(logs)
            if gap:
                self._warn(self._latest)
        if len(self._logs) == 1:
            return False
        self._logs.popleft().close()
        return True
