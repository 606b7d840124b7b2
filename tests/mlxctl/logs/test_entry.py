"""Entries of the log: whatever `mlxd.logs` writes can be read, in both forms."""

import json
import logging
import sys

import pytest

from mlxctl.logs.entry import Filters, LogEntry, is_head
from mlxd.logs import JsonFormatter, TextFormatter

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
    text, as_json = (LogEntry(written(formatter, "done", request="r1")) for formatter in FORMATTERS)
    assert as_json.as_text() == text.as_text() == text.lines
    assert json.loads(text.as_json()[0]).items() >= {"message": "done", "request": "r1"}.items()
    assert as_json.as_json() == as_json.lines


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_a_traceback_belongs_to_its_entry(formatter: logging.Formatter) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        error = sys.exc_info()
    record = logging.LogRecord("mlxd", logging.ERROR, "", 0, "it failed", (), error)
    lines = formatter.format(record).encode().split(b"\n")
    assert [is_head(line) for line in lines] == [True] + [False] * (len(lines) - 1)
    entry = LogEntry(lines)
    assert entry.parts.message == "it failed"
    assert entry.parts.traceback.endswith("ValueError: broken")
    assert entry.as_text()[-1] == b"ValueError: broken"
    assert json.loads(entry.as_json()[0])["traceback"].endswith("ValueError: broken")


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_the_request_and_the_engine_are_fields(formatter: logging.Formatter) -> None:
    details = {"request": "100% mine: x=1", "engine": "Qwen 3"}
    entry = LogEntry(written(formatter, "GET /health: 200", **details))
    assert (entry.parts.request, entry.parts.engine) == ("100% mine: x=1", "Qwen 3")
    assert entry.parts.message == "GET /health: 200"
    assert json.loads(entry.as_json()[0]).items() >= details.items()


@pytest.mark.parametrize(
    ("engine", "is_its"),
    [("tiny", True), ("tiny with adapter pirate", True), ("tiny-2", False), (None, False)],
)
def test_an_engine_is_found_by_its_model(engine: str | None, is_its: bool) -> None:
    details = {} if engine is None else {"engine": engine}
    for formatter in FORMATTERS:
        entry = LogEntry(written(formatter, "tiny is ready", **details))
        assert Filters(engine="tiny").match(entry) is is_its


@pytest.mark.parametrize("line", [b"", b"stray", b"{not json", b'{"a": 1}', b"\xff\xfe"])
def test_a_stray_line_is_shown_as_it_is(line: bytes) -> None:
    entry = LogEntry([line])
    assert entry.parts is None
    assert entry.as_text() == [line]
    assert "message" in json.loads(entry.as_json()[0])
