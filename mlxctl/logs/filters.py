"""Which entries a person asks for, and since when."""

import re
import time
from dataclasses import dataclass
from datetime import datetime

import click

from mlxctl.logs.entry import LEVELS, LogEntry

_AGO = re.compile(r"(\d{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Filters:
    """What an entry has to be to be shown; None does not matter. `since` is in Unix seconds."""

    since: float | None = None
    level: str | None = None
    request: str | None = None
    engine: str | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return self == Filters()

    def is_over(self, entry: LogEntry) -> bool:
        """Whether `entry`, and so all before it, is too old."""
        return self.since is not None and (entry.seconds or self.since) < self.since

    def takes(self, entry: LogEntry) -> bool:
        """Whether `entry` is to be shown."""
        if self.is_everything:
            return True
        parts = entry.parts
        if parts is None or self.is_over(entry):
            return False
        if self.level is not None and _rank(parts.level) < _rank(self.level):
            return False
        if self.request is not None and not entry.is_of_request(self.request):
            return False
        return self.engine is None or entry.is_of_engine(self.engine)


def since(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Turn "10m" or "2026-11-23 15:00" into Unix seconds; a callback of click."""
    if value is None:
        return None
    if match := _AGO.fullmatch(value.strip()):
        return time.time() - int(match[1]) * _SECONDS[match[2]]
    try:
        return datetime.fromisoformat(value.strip()).timestamp()  # local where it names no zone
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f'{value!r} is neither like "30s", "10m", "2h" or "3d" nor like "2026-11-23 15:00".'
        ) from error


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)
