"""The client at the other end: JSON from it and to it, streams to it, and its disconnection."""

import asyncio
import re
from codecs import charmap_decode
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mlxd.api.dialect import StreamForm
from mlxd.errors import UnsupportedMediaType

T = TypeVar("T")

LARGE_BODY = 64 * 1024
"""The size in bytes from which a body is not decoded on the event loop."""

_KINDS = {
    "",
    "application/json",
    "application/octet-stream",
    "application/x-json",
    "application/x-www-form-urlencoded",  # which `curl -d` sends with every body
    "text/json",
    "text/plain",
}
_WESTERN = {"iso-8859-1", "latin-1", "latin1", "windows-1252", "cp1252"}
_CP1252 = bytes(range(256)).decode("cp1252", "replace")
"""Its characters. Decoding with "replace" would take seconds for a long text of other bytes."""
_UNICODE = {"utf-8", "utf8", "utf-16", "utf-16le", "utf-16be", "us-ascii", "ascii"}
_CHARSET = re.compile(r"\bcharset\s*=\s*[\"']?([\w.:-]+)")
_LINE_ENDS = {end.encode(): rb"\u%04x" % ord(end) for end in "\x85\u2028\u2029"}
"""What ends a line for some clients' functions, as Python's splitlines, but not in a stream."""
_STREAM_HEADERS = [(b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]


class ClientGone(Exception):
    """The client disconnected, so nobody is waiting for the reply."""


async def read_json(scope: Scope, receive: Receive) -> bytes:
    """Return the whole body of a request, if its content type is one that JSON comes in.

    A body in one of the Western character sets is turned into UTF-8. Raises UnsupportedMediaType,
    or ClientGone before the end of the body.
    """
    kind, _, options = Headers(scope=scope).get("content-type", "").lower().partition(";")
    kind, named = kind.strip(), _CHARSET.search(options)
    if kind not in _KINDS and not kind.endswith("+json"):
        raise UnsupportedMediaType("the body must be JSON: `Content-Type: application/json`")
    charset = named[1] if named else "utf-8"
    if charset not in (*_UNICODE, *_WESTERN):
        raise UnsupportedMediaType(f'charset "{charset}" is not supported: use UTF-8')
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            body = b"".join(pieces)
            return await decoded(_in_utf8, body) if charset in _WESTERN else body


async def decoded(decode_body: Callable[[bytes], T], data: bytes) -> T:
    """Return what `decode_body` makes of a body, in a thread if that may take long."""
    return await worked(lambda: decode_body(data), len(data))


async def worked(work: Callable[[], T], size: int) -> T:
    """Return what `work` returns; call it in a thread if it has a large body of `size` bytes."""
    return work() if size < LARGE_BODY else await asyncio.to_thread(work)


def _in_utf8(body: bytes) -> bytes:
    """Return a Western body as UTF-8, unless it is that already, whatever its sender calls it."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return charmap_decode(body, "strict", _CP1252)[0].encode()
    return body


def json_response(reply: object) -> Response:
    """Return `reply` as JSON."""
    return Response(msgspec.json.encode(reply), media_type="application/json")


async def while_connected(
    receive: Receive,
    work: Coroutine[Any, Any, T],
    beat: Callable[[], Awaitable[float]] | None = None,
) -> T:
    """Return the result of `work`, which is cancelled if the client disconnects.

    The request's body must have been read. While the work goes on, `beat` is called at first, and
    then each time after as many seconds as it returned. Raises ClientGone.
    """
    loop = asyncio.get_running_loop()
    task, gone = loop.create_task(work), loop.create_task(_disconnect(receive))
    try:
        pause = 0.0 if beat else None
        while not task.done():
            await asyncio.wait((task, gone), timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            if gone.done() and not task.done():
                raise ClientGone
            if beat and not task.done():
                pause = await beat()
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@dataclass(frozen=True)
class Pace:
    """How many seconds the status line waits, and how many a stream may be silent."""

    hold: float = 2.0
    beat: float = 5.0


class EventWriter:
    """Writes one stream; a lock keeps the writes of two tasks in order.

    The status line waits for the first event, so that an early failure still gets its proper
    status; but not for long, because clients give up when they hear nothing. While there are no
    events, signs of life tell the request's progress.
    """

    def __init__(
        self, send: Send, form: StreamForm, progress: Callable[[], str], pace: Pace
    ) -> None:
        self._send = send
        self._form = form
        self._progress = progress
        self._pace = pace
        self._now = asyncio.get_running_loop().time
        self._last_sent = self._now()
        self._started = False
        self._lock = asyncio.Lock()

    @property
    def started(self) -> bool:
        """Whether something has been sent."""
        return self._started

    async def write(self, data: bytes) -> None:
        """Send `data`, lines of JSON, after the status line if that has not been sent yet."""
        if not data.isascii():
            for end, escaped in _LINE_ENDS.items():
                data = data.replace(end, escaped)
        async with self._lock:
            if not self._started:
                self._started = True
                media_type = f"{self._form.media_type}; charset=utf-8".encode()
                headers = [(b"content-type", media_type), *_STREAM_HEADERS]
                await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._last_sent = self._now()

    async def beat(self) -> float:
        """Send a sign of life if one is due; return in how many seconds the next one is."""
        if self._due <= self._now():
            await self.write(self._form.sign_of_life(self._progress()))
        return self._due - self._now()

    @property
    def _due(self) -> float:
        return self._last_sent + (self._pace.beat if self._started else self._pace.hold)

    async def end(self) -> None:
        """Send the end of the body."""
        async with self._lock:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
