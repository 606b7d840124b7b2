"""Sends a case and judges what comes back."""

import asyncio
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import httptools

from tests.bad_requests.case import Case, Expected

SECONDS = 90.0
"""How long a reply may take; poison waits for other poison."""
_QUIET_SECONDS = 2.0
_HONEST = (429, 503)
_DEFECTS = re.compile(
    rb"internal error|engine_died|load_failed|generation_failed|Traceback|model_failed"
)
_SERVER_ERROR, _OK, _SWITCHING = 500, 200, 101


@dataclass
class Outcome:
    """What came back: the `statuses` of the replies, and a `fault` if the end is not acceptable."""

    statuses: list[int] = field(default_factory=list)
    fault: str | None = None
    seconds: float = 0.0

    @property
    def result(self) -> str:
        """What the summary counts: a status, "closed" or "fault"."""
        if self.fault is not None:
            return "fault"
        return str(self.statuses[-1]) if self.statuses else "closed"


class _Replies:
    """The replies on one connection: `size` bytes, of which `whole` replies are complete."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.whole = self.size = 0
        self.defect: str | None = None
        self._tail = b""
        self._parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= _OK or status == _SWITCHING:
            self.statuses.append(status)

    def on_body(self, body: bytes) -> None:
        seen = self._tail + body
        if found := _DEFECTS.search(seen):
            around = seen[max(0, found.start() - 100) : found.end() + 200]
            self.defect = self.defect or around.decode(errors="replace")
        self._tail = seen[-40:]

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= _OK:
            self.whole += 1

    def take(self, data: bytes) -> None:
        """Take what arrived; raise HttpParserError, or HttpParserUpgrade for a WebSocket."""
        self.size += len(data)
        self._parser.feed_data(data)


async def send(case: Case, port: int, socket: Path) -> Outcome:
    """Send a case to the daemon on a connection of its own, and judge how it ends."""
    outcome = Outcome()
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(SECONDS):
            await _exchange(case, port, socket, outcome)
    except TimeoutError:
        if case.expects is not Expected.NOTHING:
            outcome.fault = f"no end after {SECONDS:g} s"
    except OSError as error:
        outcome.fault = f"no connection: {error}"
    outcome.seconds = loop.time() - began
    return outcome


async def _exchange(case: Case, port: int, socket: Path, outcome: Outcome) -> None:
    if case.unix:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    replies = _Replies()
    reading = asyncio.create_task(_read(case, reader, replies)) if case.read else None
    if reading is None:
        writer.transport.pause_reading()
    try:
        await _write(case, writer)
        if case.linger or reading is None:
            await asyncio.sleep(case.linger)
        elif case.expects is Expected.REPLY_OR_CLOSE and writer.can_write_eof():
            with_end = asyncio.create_task(_end(writer, replies))
            await reading
            with_end.cancel()
        if reading is not None and case.expects is not Expected.NOTHING:
            await reading
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        writer.transport.abort()
    outcome.statuses = replies.statuses
    outcome.fault = _fault(case, replies)


async def _end(writer: asyncio.StreamWriter, replies: _Replies) -> None:
    """End the request once nothing has arrived for a while: the server may wait for the rest."""
    seen = -1
    while seen != replies.size:
        seen = replies.size
        await asyncio.sleep(_QUIET_SECONDS)
    if not writer.is_closing():
        writer.write_eof()


async def _write(case: Case, writer: asyncio.StreamWriter) -> None:
    try:
        for piece in case.pieces:
            if isinstance(piece, bytes):
                writer.write(piece)
                await writer.drain()
            else:
                await asyncio.sleep(piece)
    except OSError:  # the daemon has answered, and closed the connection
        return


async def _read(case: Case, reader: asyncio.StreamReader, replies: _Replies) -> None:
    try:
        while data := await reader.read(65536):
            replies.take(data)
            if case.expects is Expected.REPLY and replies.whole:
                return
    except (OSError, httptools.HttpParserUpgrade):
        return
    except httptools.HttpParserError as error:
        replies.defect = f"the reply is not HTTP: {error}"


def _fault(case: Case, replies: _Replies) -> str | None:
    if replies.defect is not None:
        return replies.defect
    for status in replies.statuses:
        if status >= _SERVER_ERROR and status not in _HONEST:
            return f"status {status}"
    if case.expects is Expected.REPLY and not replies.whole:
        return "no whole reply" if replies.statuses else "closed without a reply"
    if case.expects is Expected.REPLY_OR_CLOSE and len(replies.statuses) > replies.whole:
        no_body = _SWITCHING in replies.statuses or _is_head(case)
        return None if no_body else "a reply was cut"
    return None


def _is_head(case: Case) -> bool:
    """Return whether the replies have a length but no body."""
    return isinstance(case.pieces[0], bytes) and case.pieces[0].startswith(b"HEAD ")


def shown(case: Case, outcome: Outcome) -> str:
    """Return a line about a case and its end, for people."""
    statuses = " ".join(map(str, outcome.statuses)) or "no reply"
    start = case.pieces[0] if case.pieces and isinstance(case.pieces[0], bytes) else b""
    first = json.dumps(start[:100].decode("latin-1"))
    return (
        f"{case.kind} ({case.name}): {statuses}, {outcome.seconds:.1f} s: {outcome.fault}; {first}"
    )
