"""`python -m tests.support.busy_daemon FILE FORMAT FIRST LAST`: the log of a busy daemon.

Requests FIRST to LAST - 1, one a second by the log's own clock, go through the daemon's middleware
into its log at FILE. Now and then an engine prints a line, or a request fails with a traceback.
"""

import asyncio
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from starlette.types import Message, Receive, Scope, Send

from mlxd import logs
from mlxd.config import LogConfig
from mlxd.http.access_log import AccessLog
from mlxd.http.record import record_of
from mlxd.messages import Usage
from mlxd.metrics.metrics import Metrics

MAX_SIZE = 500_000
KEEP = 50
MIDNIGHT = 1795392000.0  # Unix seconds


def request_id(number: int) -> str:
    """The id of the request that came `number` seconds after midnight."""
    return f"request-{number:05d}"


def prints(number: int) -> bool:
    """Whether an engine prints a line before that request."""
    return number % 50 == 0


def fails(number: int) -> bool:
    """Whether that request ends in an unexpected error."""
    return number % 500 == 250


@dataclass
class _Meter:
    queue: float = 0.001
    prefill: float = 0.2
    decode: float = 4.5
    first_token: float = 0.201
    running: bool = True
    writes: bool = True


async def _answer(scope: Scope, _receive: Receive, send: Send) -> None:
    record = record_of(scope)
    number = int(record.request_id[-5:])
    record.model = "owner/some-model-4bit"
    status = 200
    if fails(number):
        status = 500
        try:
            raise KeyError(number)
        except KeyError as error:
            logging.getLogger("mlxd.http.error_replies").error(
                "unexpected", exc_info=error, extra={"details": {"request": record.request_id}}
            )
    record.usage = Usage(prompt_tokens=number % 4096, cached_tokens=0, completion_tokens=250)
    record.meter = _Meter()
    await send({"type": "http.response.start", "status": status, "headers": []})


async def _nothing(_message: Message | None = None) -> Message:
    return {"type": "http.disconnect"}


async def work(first: int, last: int) -> None:
    """Serve those requests."""
    daemon = AccessLog(_answer, Metrics())
    engine = logging.getLogger("mlxd.engine")
    for number in range(first, last):
        logging.setLogRecordFactory(_Clock(MIDNIGHT + number))
        if prints(number):
            details = {"engine": "owner/some-model-4bit"}
            engine.info("request %d comes", number, extra={"details": details})
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "raw_path": b"/v1/chat/completions",
            "headers": [(b"x-request-id", request_id(number).encode())],
        }
        await daemon(scope, _nothing, _nothing)


class _Clock:
    """Makes log records at a time of its own."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, *arguments: object, **options: object) -> logging.LogRecord:
        record = logging.LogRecord(*arguments, **options)
        record.created = self._seconds
        return record


if __name__ == "__main__":
    file, form, first, last = sys.argv[1:]
    logs.set_up(LogConfig(format=form, max_size=MAX_SIZE, keep=KEEP), Path(file))
    asyncio.run(work(int(first), int(last)))
