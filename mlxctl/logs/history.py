"""What has been logged, across the files, the latest first."""

import os
from collections.abc import Iterable, Iterator
from io import BufferedReader

from mlxctl.logs.entry import LogEntry, is_head
from mlxctl.logs.files import lines_backwards


def backwards(logs: Iterable[BufferedReader], end: int) -> Iterator[LogEntry]:
    """Give the entries of `logs`, of which the first is the newest and counts up to `end`."""
    for number, log in enumerate(logs):
        lines = lines_backwards(log, log.seek(0, os.SEEK_END) if number else end)
        more: list[bytes] = []
        for line in lines:
            more.append(line)
            if is_head(line):
                yield LogEntry(more[::-1])
                more = []
        # Whatever has no head is nobody's, and each line stands for itself.
        yield from (LogEntry([line]) for line in more)
