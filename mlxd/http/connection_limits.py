"""uvicorn's protocol with limits: what one connection may hold, and how long it may take.

The head of a request (its first line and headers) is limited in size and time. A body has no time
limit as long as it keeps arriving, nor has a reply as long as the client keeps reading it. A client
that is too slow gets a 408, or loses the connection if its reply has begun.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from mlxd.errors import HeadTooLarge, InvalidRequest, MlxdError, RequestTimeout, TooManyConnections
from mlxd.http.error_replies import error_response

MAX_HEAD = 64 * 1024
"""Bytes of a request line and its headers."""
LEAST_PIECE = 64 * 1024
"""Bytes of a body that must arrive in each period of `Limits.body_seconds`, unless it ends."""
_MOST_PIECES, _SMALL_PIECE = 10_000, 64
"""Pieces of a body, such as chunks, that may have fewer bytes on average."""
_MOST_PIPELINED = 100
"""Requests that may wait for the one before them on a connection."""
_PAUSE_BETWEEN_WARNINGS = 60.0
_FAREWELL_SECONDS = 2.0
ASLEEP_SECONDS = 1.0

_log = logging.getLogger("mlxd.http")


@dataclass(frozen=True)
class Limits:
    """How many connections a server has at most, and how many seconds a client may take.

    `head_seconds` is for a whole head, `body_seconds` for each LEAST_PIECE of a body, and
    `read_seconds` for reading some of a reply while more of it waits to be sent.
    """

    connections: int | None = None
    head_seconds: float = 30.0
    body_seconds: float = 30.0
    read_seconds: float = 60.0


class LimitedConfig(uvicorn.Config):
    """uvicorn's configuration, and the limits of its connections."""

    def __init__(self, app: ASGIApp, limits: Limits, **options: object) -> None:
        super().__init__(app, **options)  # type: ignore[arg-type]
        self.limits = limits
        self.warned_at = float("-inf")


class ClientTimer:
    """Calls `late` if a client has not done something in time.

    If the timer itself fires late, the machine was asleep: it starts again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, late: Callable[[], None]) -> None:
        self._loop = loop
        self._late = late
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether something is expected."""
        return self._timer is not None

    def start(self, seconds: float) -> None:
        """Expect something within `seconds`."""
        self.stop()
        self._timer = self._loop.call_later(seconds, self._fire, seconds)

    def stop(self) -> None:
        """Expect nothing: the client has done it, or may take its time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self, seconds: float) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and self._loop.time() > timer.when() + ASLEEP_SECONDS:
            self.start(seconds)
        else:
            self._late()


class LimitedConnection(asyncio.Protocol):
    """What connections of every protocol have; `idle_since` is when the last request ended.

    A subclass names it before uvicorn's protocol.
    """

    config: LimitedConfig
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    connections: set[Any]
    idle_since = 0.0
    _read_timer: ClientTimer | None = None

    @property
    def busy(self) -> bool:
        """Whether a request is being served, or is arriving."""
        raise NotImplementedError

    @property
    def closing(self) -> bool:
        """Whether the connection is closed, or will be."""
        return self.transport.is_closing()

    def abort(self) -> None:
        """Close the connection, whatever it has to send."""
        self.transport.abort()

    def refuse(self, error: MlxdError) -> None:
        """Close the connection because of `error`, and tell the client if it can be told."""
        raise NotImplementedError

    def take_place(self) -> None:
        """Count this connection, and close another one or refuse this one if there are too many.

        The one closed is that which has been without a request for the longest time.
        """
        self.idle_since = self.loop.time()
        most = self.config.limits.connections
        if most is not None and len(self.connections) > most:
            self._make_room(most)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer of a client that is gone."""
        super().connection_lost(exc)
        self._stop_read_timer()

    def pause_writing(self) -> None:
        """Expect that the client reads: there is more to send than the connection takes."""
        super().pause_writing()
        self._read_timer = self._read_timer or ClientTimer(self.loop, self._end_unread)
        if not self._read_timer.running:
            self._read_timer.start(self.config.limits.read_seconds)

    def resume_writing(self) -> None:
        """Expect nothing: the client has read."""
        super().resume_writing()
        self._stop_read_timer()

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.stop()

    def _end_unread(self) -> None:
        seconds = self.config.limits.read_seconds
        _log.info("a client that read nothing for %g s was disconnected", seconds)
        self.transport.abort()

    def _make_room(self, most: int) -> None:
        now = time.monotonic()
        if now > self.config.warned_at + _PAUSE_BETWEEN_WARNINGS:
            self.config.warned_at = now
            _log.warning("%d connections are open (server.max_connections)", most)
        others = [each for each in self.connections if isinstance(each, LimitedConnection)]
        idle = [e for e in others if e is not self and not e.busy and not e.closing]
        if idle:
            min(idle, key=lambda each: each.idle_since).abort()
        else:
            self.refuse(TooManyConnections(f"{most} connections are open (server.max_connections)"))


class _Part(Enum):
    """What comes next on a connection."""

    REQUEST = auto()
    HEAD = auto()
    BODY = auto()


class LimitedProtocol(LimitedConnection, HttpToolsProtocol):
    """One connection of HTTP."""

    config: LimitedConfig
    retired = False
    _part = _Part.REQUEST
    _ended = False
    _head_bytes = _body_bytes = _body_seen = _beside_bytes = 0
    _pieces = _pieces_seen = 0
    _served: RequestResponseCycle | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.rest_timer = ClientTimer(self.loop, self._check_late)

    @property
    def busy(self) -> bool:
        """Whether a request is being served, or its body is coming."""
        return self.cycle is not None and not self.cycle.response_complete

    def retire(self) -> None:
        """Close the connection after its current request, or after its next one."""
        self.retired = True
        if self.busy:
            self.cycle.keep_alive = False

    def refuse(self, error: MlxdError) -> None:
        """Answer with `error` and close the connection, at once if another reply is under way."""
        if self.transport.is_closing():
            return
        reads_body = self._part is _Part.BODY
        if reads_body != self.busy or (self.busy and self.cycle.response_started):
            self.transport.abort()
            return
        response = error_response(error, dict(self.scope) if reads_body else None)
        lines = [b"%b: %b\r\n" % header for header in response.raw_headers]
        head = b"".join((STATUS_LINE[response.status_code], *lines, b"connection: close\r\n\r\n"))
        self.transport.write(head + bytes(response.body))
        self.transport.close()

    def watch(self, received: int) -> None:
        """Check the size of a head and start the timer, after `received` bytes were parsed."""
        ended, self._ended = self._ended, False
        # Bytes beside the body itself: extensions of chunks, and trailers.
        had_body, self._pieces_seen = self._pieces != self._pieces_seen, self._pieces
        self._beside_bytes = 0 if had_body else self._beside_bytes + received
        if self._part is _Part.HEAD:
            self._head_bytes += 0 if ended else received  # most of it may be a body before
            if self._head_bytes > MAX_HEAD:
                self.refuse(_head_too_large())
                return
        elif self._part is _Part.BODY and self._beside_bytes > MAX_HEAD:
            self.refuse(_head_too_large())
            return
        elif self._part is _Part.REQUEST and self.busy:
            return
        if not self.rest_timer.running and not (
            self._part is _Part.REQUEST and self.timeout_keep_alive_task is not None
        ):
            self._expect()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self._expect()
        self.take_place()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request that is being served, even if another one was sent ahead."""
        super().connection_lost(exc)
        if self._served is not None:
            self._served.disconnected = True
            self._served.message_event.set()
        self.rest_timer.stop()
        self._unset_keepalive_if_required()

    def shutdown(self) -> None:
        """Close the connection as the server stops, or after its current request."""
        super().shutdown()
        if not self.busy and self.scheme == "https":
            # TLS waits for the client to close its side, and an idle client does so late.
            self.loop.call_later(_FAREWELL_SECONDS, self.transport.abort)

    def on_message_begin(self) -> None:
        """Expect the rest of a head."""
        super().on_message_begin()
        self._part = _Part.HEAD
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers, which follow a body, are ignored."""
        if self._part is _Part.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the size of the head, and serve the request."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD:
            self.refuse(_head_too_large())
            raise ValueError  # which ends the parser
        if len(self.pipeline) >= _MOST_PIPELINED:
            self.abort()
            raise ValueError
        self.rest_timer.stop()
        super().on_headers_complete()
        self._part = _Part.BODY
        self._body_bytes = self._body_seen = self._beside_bytes = 0
        self._pieces = self._pieces_seen = 0

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body_bytes += len(body)
        self._pieces += 1
        if self._pieces > _MOST_PIECES and self._body_bytes < self._pieces * _SMALL_PIECE:
            self.refuse(InvalidRequest("the body comes in too many small pieces"))
            raise ValueError  # which ends the parser
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of the body."""
        super().on_message_complete()
        self._part, self._ended = _Part.REQUEST, True
        self.rest_timer.stop()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self.idle_since = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without requests, even if its last reply was never read."""
        self._close_idle()

    def _expect(self) -> None:
        limits = self.config.limits
        seconds = limits.body_seconds if self._part is _Part.BODY else limits.head_seconds
        self.rest_timer.start(seconds)

    def _check_late(self) -> None:
        if self.transport.is_closing():
            return
        body = self._part is _Part.BODY
        came = self._body_bytes - self._body_seen
        self._body_seen = self._body_bytes
        # What the client cannot send before its last request is answered is not late.
        waits = self.flow.read_paused if body else self.busy
        if waits or (body and came >= LEAST_PIECE):
            self._expect()
        elif self._part is _Part.REQUEST:
            self._close_idle()
        else:
            what = "body" if body else "head"
            self.refuse(RequestTimeout(f"the {what} of the request did not come in time"))

    def _close_idle(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        elif not self.transport.is_closing():
            self.transport.close()


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(f"the request line and the headers are larger than {MAX_HEAD} bytes")
