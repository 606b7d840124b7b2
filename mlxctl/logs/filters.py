"""Which entries to show."""

import time
from dataclasses import dataclass
from datetime import datetime

import click

from mlxctl.logs.entry import LEVELS, LogEntry
from mlxd.units import parse_duration


@dataclass(frozen=True)
class Filters:
    """Conditions that an entry must meet, None for no condition; `since` is in Unix seconds."""

    since: float | None = None
    level: str | None = None
    request: str | None = None
    engine: str | None = None

    def is_too_old(self, entry: LogEntry) -> bool:
        """Whether `entry`, and so every entry before it, is older than `since`."""
        return self.since is not None and (entry.seconds or self.since) < self.since

    def match(self, entry: LogEntry) -> bool:
        """Whether `entry` meets all conditions."""
        if self == Filters():
            return True
        parts = entry.parts
        if parts is None or self.is_too_old(entry):
            return False
        if self.level is not None and _rank(parts.level) < _rank(self.level):
            return False
        if self.request is not None and parts.request != self.request:
            return False
        return self.engine is None or entry.is_of_engine(self.engine)


def since(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Return "10m" (ago) or "2026-11-23 15:00" as Unix seconds; a callback of click."""
    if value is None:
        return None
    if (ago := parse_duration(value.strip())) is not None:
        return time.time() - ago
    try:
        return datetime.fromisoformat(value.strip()).timestamp()  # local without a time zone
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f'{value!r} is neither a duration like "30s", "10m" or "2h" nor a time like '
            '"2026-11-23 15:00".'
        ) from error


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)
