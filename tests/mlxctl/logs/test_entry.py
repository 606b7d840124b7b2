"""Entries of the log: whatever `mlxd.logs` writes is read, in both forms."""

import json
import logging
import sys

import pytest

from mlxctl.logs.entry import Grouping, LogEntry
from mlxd.logs.formats import JsonFormatter, TextFormatter

FORMATTERS = [TextFormatter(), JsonFormatter()]


def written(formatter: logging.Formatter, message: str, **details: object) -> list[bytes]:
    record = logging.LogRecord("mlxd.http", logging.WARNING, "", 0, message, (), None)
    record.created = 1_795_449_205.123
    record.details = details
    return formatter.format(record).encode().split(b"\n")


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_its_parts(formatter: logging.Formatter) -> None:
    entry = LogEntry(written(formatter, "r1 GET /health 200: caf\u00e9"))
    assert (entry.parts.level, entry.parts.logger) == ("warning", "mlxd.http")
    assert entry.parts.message == "r1 GET /health 200: caf\u00e9"
    assert entry.seconds == pytest.approx(1_795_449_205.123)


def test_text_and_json_say_the_same() -> None:
    text, as_json = (LogEntry(written(formatter, "r1 is done")) for formatter in FORMATTERS)
    assert as_json.as_text() == text.as_text() == text.lines
    assert json.loads(text.as_json()[0])["message"] == "r1 is done"
    assert as_json.as_json() == as_json.lines


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_a_traceback_belongs_to_its_entry(formatter: logging.Formatter) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        fault = sys.exc_info()
    record = logging.LogRecord("mlxd", logging.ERROR, "", 0, "it failed", (), fault)
    lines = [*formatter.format(record).encode().split(b"\n"), *written(formatter, "next")]
    grouping = Grouping()
    first, second = [*grouping.add(lines), *grouping.end()]
    assert first.parts.more[-1] == "ValueError: broken"
    assert first.as_text()[-1] == b"ValueError: broken"
    assert json.loads(first.as_json()[0])["traceback"].endswith("ValueError: broken")
    assert second.parts.message == "next"


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_whose_request_it_is(formatter: logging.Formatter) -> None:
    entry = LogEntry(written(formatter, "r1 GET /health 200", request="r1"))
    assert entry.is_of_request("r1")
    assert not entry.is_of_request("r")
    assert not entry.is_of_request("GET")


@pytest.mark.parametrize(
    ("logger", "message", "is_its"),
    [
        ("mlxd.engine", "tiny[4711]: warming up", True),
        ("mlxd.engine", "tiny with adapter pirate[4711]: warming up", True),
        ("mlxd.engine", "tiny-2[4711]: tiny is not me", False),
        ("mlxd.models", "tiny is ready", True),
        ("mlxd.models", "the engine of tiny has crashed: killed", True),
        ("mlxd.models", "tiny-2 is ready", False),
        ("mlxd.http", "tiny is ready", False),
    ],
)
def test_whose_engine_it_is(logger: str, message: str, is_its: bool) -> None:
    record = logging.LogRecord(logger, logging.INFO, "", 0, message, (), None)
    for formatter in FORMATTERS:
        assert LogEntry([formatter.format(record).encode()]).is_of_engine("tiny") is is_its


@pytest.mark.parametrize("line", [b"", b"stray", b"{not json", b'{"a": 1}', b"\xff\xfe"])
def test_what_is_no_entry_is_shown_as_it_is(line: bytes) -> None:
    entry = LogEntry([line])
    assert entry.parts is None
    assert entry.as_text() == [line]
    assert "message" in json.loads(entry.as_json()[0])
