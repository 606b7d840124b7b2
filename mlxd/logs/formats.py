"""How a line of the log looks: for people, or one JSON object a line. `mlxctl.logs` reads both.

A record may bring details for programs, `extra={"details": {…}}`, which only JSON shows: the
message has said them to people already.
"""

import logging
from datetime import datetime

import msgspec

_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_LONGEST_MESSAGE = 32_000  # characters
_BAD_UNICODE = "backslashreplace"


class TextFormatter(logging.Formatter):
    """The local time, the level, the logger and the message; a traceback follows on more lines."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """Give the time as "2026-11-23 15:53:25.123+01:00"."""
        return _time(record, " ")

    def format(self, record: logging.LogRecord) -> str:
        """Give the whole record, cut short where it is endless."""
        return _shortened(super().format(record))


class JsonFormatter(logging.Formatter):
    """One object a line, with the details of the record in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the record as JSON."""
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


def _shortened(text: str) -> str:
    cut = len(text) - _LONGEST_MESSAGE
    return text if cut <= 0 else f"{text[:_LONGEST_MESSAGE]}… ({cut} characters more)"


def _encodable(value: object) -> object:
    if not isinstance(value, str):
        return value
    return _shortened(value).encode(errors=_BAD_UNICODE).decode()
