"""One entry of the log, of either of the two forms that `mlxd.logs.formats` writes."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cached_property

import msgspec

LEVELS = ("debug", "info", "warning", "error", "critical")

_HEAD = re.compile(
    rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-][\d:]{5,8}) ([A-Z]+) +([\w.]+): (.*)", re.DOTALL
)


class Parts(msgspec.Struct):
    """What an entry says; `time` is ISO 8601, `more` the lines that follow the message."""

    time: str
    level: str
    logger: str
    message: str
    more: list[str] = []


class _Object(msgspec.Struct):
    time: str
    level: str
    logger: str
    message: str
    request: str | None = None
    model: str | None = None
    traceback: str = ""


class LogEntry:
    """An entry as `lines` of the file, without their ends; a stray line is an entry of no parts."""

    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines

    @cached_property
    def _object(self) -> _Object | None:
        return _decode(self.lines[0])

    @cached_property
    def parts(self) -> Parts | None:
        """What it says."""
        if (found := self._object) is not None:
            more = found.traceback.splitlines()
            return Parts(found.time, found.level, found.logger, found.message, more)
        if (match := _HEAD.fullmatch(self.lines[0])) is None:
            return None
        time, level, logger, message = (part.decode(errors="replace") for part in match.groups())
        more = [line.decode(errors="replace") for line in self.lines[1:]]
        return Parts(time, level.lower(), logger, message, more)

    @property
    def seconds(self) -> float | None:
        """When it was written, in Unix seconds."""
        try:
            return datetime.fromisoformat(self.parts.time).timestamp() if self.parts else None
        except ValueError:
            return None

    def is_of_request(self, request_id: str) -> bool:
        """Whether it is about the request of that id."""
        if self._object is not None and self._object.request is not None:
            return self._object.request == request_id
        parts = self.parts
        if parts is None or not parts.logger.startswith("mlxd.http"):
            return False
        return parts.message.startswith((f"{request_id} ", f"{request_id}: "))

    def is_of_engine(self, model: str) -> bool:
        """Whether it is about the engine of `model`, or what that has printed."""
        parts = self.parts
        if parts is None:
            return False
        if parts.logger == "mlxd.engine":
            return parts.message.startswith((f"{model}[", f"{model} with adapter "))
        return parts.logger == "mlxd.models" and parts.message.startswith(
            (f"{model} ", f"the engine of {model} ", f"the life of {model} ")
        )

    def as_text(self) -> list[bytes]:
        """Give its lines for a person."""
        parts = self.parts
        if self._object is None or parts is None:
            return self.lines
        head = f"{parts.time.replace('T', ' ')} {parts.level.upper():<7} {parts.logger}: "
        return [line.encode() for line in (head + parts.message, *parts.more)]

    def as_json(self) -> list[bytes]:
        """Give its one line for a program."""
        if self._object is not None:
            return self.lines
        if (parts := self.parts) is None:
            return [_encode({"message": _text(self.lines)})]
        fields = {name: getattr(parts, name) for name in ("level", "logger", "message")}
        fields = {"time": parts.time.replace(" ", "T", 1), **fields}
        if parts.more:
            fields["traceback"] = "\n".join(parts.more)
        return [_encode(fields)]


def is_head(line: bytes) -> bool:
    """Whether an entry begins with `line`."""
    if line[:1] == b"{":
        return _decode(line) is not None
    return _HEAD.match(line) is not None


class Grouping:
    """Makes entries of lines that come one after the other."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def add(self, lines: Iterable[bytes]) -> Iterator[LogEntry]:
        """Give the entries that are complete, as another one has begun after them."""
        for line in lines:
            if self._lines and is_head(line):
                yield from self.end()
            self._lines.append(line)

    def end(self) -> Iterator[LogEntry]:
        """Give the entry that is not known to be complete, if there is one."""
        if self._lines:
            lines, self._lines = self._lines, []
            yield LogEntry(lines)


def _decode(line: bytes) -> _Object | None:
    if not line.startswith(b"{"):
        return None
    try:
        return msgspec.json.decode(line, type=_Object)
    except msgspec.DecodeError:
        return None


def _encode(fields: dict[str, str]) -> bytes:
    return msgspec.json.encode(fields)


def _text(lines: list[bytes]) -> str:
    return b"\n".join(lines).decode(errors="replace")
