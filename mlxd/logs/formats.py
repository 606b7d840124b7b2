"""How a log line looks: text for people, or one JSON object per line. `mlxctl.logs` reads both.

A record may carry fields for programs, `extra={"details": {…}}`. JSON shows all of them; text shows
those in `SUBJECTS`, which say what the record is about, after the name of the logger:

    2026-11-23 15:53:25.123+01:00 INFO    mlxd.http request=req-1: GET /health 200 1.0ms
"""

import logging
import re
from datetime import datetime
from urllib.parse import quote

import msgspec

SUBJECTS = ("request", "engine")

_LONGEST_MESSAGE = 32_000  # characters
_BAD_UNICODE = "backslashreplace"
_ESCAPED = re.compile(r"[%\s]")


class TextFormatter(logging.Formatter):
    """The local time, the level, the logger and the message; a traceback follows on more lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s%(subject)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """Return the time as "2026-11-23 15:53:25.123+01:00"."""
        return _time(record, " ")

    def format(self, record: logging.LogRecord) -> str:
        """Return the whole record, cut off where it is very long."""
        details = getattr(record, "details", {})
        record.subject = "".join(
            f" {name}={_escaped(str(details[name]))}" for name in SUBJECTS if name in details
        )
        return _shortened(super().format(record))


class JsonFormatter(logging.Formatter):
    """One object per line, with the details of the record in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        line: dict[str, object] = {
            "time": _time(record, "T"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "details", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode({key: _encodable(value) for key, value in line.items()}).decode()


def _time(record: logging.LogRecord, separator: str) -> str:
    return datetime.fromtimestamp(record.created).astimezone().isoformat(separator, "milliseconds")


def _escaped(value: str) -> str:
    return _ESCAPED.sub(lambda found: quote(found[0]), value)


def _shortened(text: str) -> str:
    cut = len(text) - _LONGEST_MESSAGE
    return text if cut <= 0 else f"{text[:_LONGEST_MESSAGE]}… ({cut} characters more)"


def _encodable(value: object) -> object:
    if not isinstance(value, str):
        return value
    return _shortened(value).encode(errors=_BAD_UNICODE).decode()
