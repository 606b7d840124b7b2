"""One entry of the log, in either of the two forms that `mlxd.logs` writes, and filters for it."""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from urllib.parse import unquote

import msgspec

LEVELS = ("debug", "info", "warning", "error", "critical")

_JSON = b'{"time":'
_TEXT = re.compile(
    rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-][\d:]{5,8}) ([A-Z]+) +([\w.]+)"
    rb"(?: request=(\S+))?(?: engine=(\S+))?: (.*)",
    re.DOTALL,
)
_WITH_ADAPTER = " with adapter "


class Parts(msgspec.Struct):
    """What an entry says; `time` is ISO 8601, `traceback` has the lines after the message."""

    time: str
    level: str
    logger: str
    message: str
    request: str | None = None
    engine: str | None = None
    traceback: str = ""


class LogEntry:
    """An entry as `lines` of the file, without their ends; a stray line has no parts."""

    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines

    @cached_property
    def parts(self) -> Parts | None:
        """What the entry says; None for a line that the daemon did not log."""
        if self._is_json:
            try:
                return msgspec.json.decode(self.lines[0], type=Parts)
            except msgspec.DecodeError:
                return None
        if (match := _TEXT.fullmatch(self.lines[0])) is None:
            return None
        time, level, logger, request, engine, message = match.groups()
        return Parts(
            _text(time),
            _text(level).lower(),
            _text(logger),
            _text(message),
            unquote(request) if request else None,
            unquote(engine) if engine else None,
            _text(b"\n".join(self.lines[1:])),
        )

    @property
    def seconds(self) -> float | None:
        """When it was written, in Unix seconds."""
        try:
            return datetime.fromisoformat(self.parts.time).timestamp() if self.parts else None
        except ValueError:
            return None

    def as_text(self) -> list[bytes]:
        """Return its lines as text."""
        parts = self.parts
        if not self._is_json or parts is None:
            return self.lines
        time, level = parts.time.replace("T", " "), parts.level.upper()
        subjects = {"request": parts.request, "engine": parts.engine}
        about = "".join(f" {name}={value}" for name, value in subjects.items() if value is not None)
        head = f"{time} {level:<7} {parts.logger}{about}: {parts.message}"
        return [line.encode() for line in (head, *parts.traceback.splitlines())]

    def as_json(self) -> list[bytes]:
        """Return its one line of JSON."""
        if (parts := self.parts) is None:
            return [msgspec.json.encode({"message": _text(b"\n".join(self.lines))})]
        if self._is_json:
            return self.lines
        fields = msgspec.structs.asdict(parts) | {"time": parts.time.replace(" ", "T", 1)}
        return [msgspec.json.encode({name: value for name, value in fields.items() if value})]

    @property
    def _is_json(self) -> bool:
        return self.lines[0].startswith(_JSON)


@dataclass(frozen=True)
class Filters:
    """Conditions that an entry must meet, None for no condition.

    `since` is in Unix seconds, `level` the lowest one; `engine` is a model, with any adapter.
    """

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
        return (
            parts is not None
            and not self.is_too_old(entry)
            and (self.level is None or _rank(parts.level) >= _rank(self.level))
            and self.request in (None, parts.request)
            and self.engine in (None, (parts.engine or "").partition(_WITH_ADAPTER)[0])
        )


def is_head(line: bytes) -> bool:
    """Whether an entry begins with `line`."""
    return line.startswith(_JSON) or _TEXT.match(line) is not None


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)


def _text(line: bytes) -> str:
    return line.decode(errors="replace")
