"""A light streaming client: one thread, one selector, nothing parsed until the streams have ended.

While streams run, each arrival costs one `recv` and two list appends, so that client and servers
can share two cores. `Stream.reply` parses afterwards and checks the answer.
"""

import json
import selectors
import socket
import time
from dataclasses import dataclass, field

import httptools

_RECEIVE_BYTES = 16384
_TEXT_KEYS = ("text", "content", "reasoning", "reasoning_content")


class BenchmarkError(Exception):
    """A request or a server failed, so the run ends: its figures would mean nothing."""


@dataclass(slots=True)
class Reply:
    """One streamed answer. Times are in seconds after the request was sent, connecting included.

    Its text includes the reasoning. `cached_tokens` is None if the server does not tell.
    """

    text: str
    text_times: list[float]  # when each event that carries text was complete
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str | None
    cached_tokens: int | None = None

    @property
    def cached_of_prompt(self) -> str:
        """How much of the prompt was cached, for a table."""
        cached = "?" if self.cached_tokens is None else self.cached_tokens
        return f"{cached} of {self.prompt_tokens}"


@dataclass(eq=False, slots=True)
class Stream:
    """One request, and what has arrived of its answer."""

    request: bytes
    connection: socket.socket
    started: float
    times: list[float] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    ended: bool = False

    def reply(self, *, tokens: int | None = None, text: bool = True) -> Reply:
        """Parse a stream that has ended by itself.

        `tokens` is the number of tokens the answer must have; None accepts an early end. With
        `text` False an answer may be empty.

        Raises:
            BenchmarkError: the status is not 200, the stream has an error, lacks its usage or its
                `[DONE]`, or has another number of tokens.
        """
        reader = _Reader(self)
        reply = reader.reply
        if not reader.done:
            raise BenchmarkError(
                f"a stream ended without [DONE], after {reply.text[-80:]!r} and {reader.rest!r}"
            )
        if reply.completion_tokens == 0 or (text and not reply.text_times):
            raise BenchmarkError("a stream has no text or no usage")
        if tokens is not None and reply.completion_tokens != tokens:
            raise BenchmarkError(
                f"a stream has {reply.completion_tokens} tokens instead of {tokens} "
                f"(finish reason {reply.finish_reason})"
            )
        return reply

    def reply_so_far(self) -> Reply:
        """Parse what has arrived; raise BenchmarkError if it is an error."""
        return _Reader(self).reply


class _Reader:
    """Replays the arrivals of a stream through an HTTP parser, with the time of each."""

    def __init__(self, stream: Stream) -> None:
        self.reply = Reply("", [], 0, 0, None)
        self.done = False
        self.rest = b""
        self._fault: str | None = None  # raised at the end: the parser wraps what a callback raises
        self._now = 0.0
        self._parser = httptools.HttpResponseParser(self)
        for arrived, piece in zip(stream.times, stream.pieces, strict=True):
            self._now = arrived - stream.started
            self._parser.feed_data(piece)
        if self._fault is not None:
            raise BenchmarkError(self._fault)

    def on_body(self, data: bytes) -> None:
        """Take more of the body from the parser, without the transfer coding."""
        if (status := self._parser.get_status_code()) != 200:
            self._fault = self._fault or f"status {status}: {data[:300]!r}"
            return
        *events, self.rest = (self.rest + data).split(b"\n\n")
        for event in events:
            if event.startswith(b"data: "):
                self._on_data(event[6:])

    def _on_data(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.done = True
            return
        event = json.loads(data)
        if error := event.get("error"):
            self._fault = self._fault or f"an error within a stream: {error}"
            return
        if usage := event.get("usage"):
            self.reply.prompt_tokens = usage["prompt_tokens"]
            self.reply.completion_tokens = usage["completion_tokens"]
            details = usage.get("prompt_tokens_details") or {}
            self.reply.cached_tokens = details.get("cached_tokens")
        for choice in event["choices"]:
            delta = choice if "text" in choice else choice["delta"]
            if text := next((delta[key] for key in _TEXT_KEYS if delta.get(key)), None):
                self.reply.text += text
                self.reply.text_times.append(self._now)
            if reason := choice.get("finish_reason"):
                self.reply.finish_reason = reason


class Client:
    """Sends requests to one port of this machine; a context manager that closes what is open."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)
        self._selector = selectors.DefaultSelector()
        self._open: set[Stream] = set()
        self.cpu_seconds = 0.0
        self.wall_seconds = 0.0

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon(list(self._open))
        self._selector.close()

    def start(self, path: str, body: dict[str, object]) -> Stream:
        """Begin a streamed request with greedy decoding; `wait` or `read_for` continues it."""
        payload = json.dumps(
            {
                "model": "default_model",
                "temperature": 0.0,
                "stream": True,
                "stream_options": {"include_usage": True},
                **body,
            }
        ).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._address[1]}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n"
            "Connection: close\r\n\r\n"
        )
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = Stream(head.encode() + payload, connection, time.perf_counter())
        connection.connect_ex(self._address)
        self._selector.register(connection, selectors.EVENT_WRITE, stream)
        self._open.add(stream)
        return stream

    def wait(self, streams: list[Stream], *, timeout: float = 900.0) -> None:
        """Read on until all of `streams` have ended.

        Raises:
            BenchmarkError: when a connection fails, or after `timeout` seconds.
        """
        deadline = time.perf_counter() + timeout
        started, used = time.perf_counter(), time.thread_time()
        while not all(stream.ended for stream in streams):
            if time.perf_counter() > deadline:
                raise BenchmarkError(f"a stream did not end within {timeout:.0f} s")
            self._turn(1.0)
        self.wall_seconds += time.perf_counter() - started
        self.cpu_seconds += time.thread_time() - used

    def read_for(self, seconds: float) -> None:
        """Read what arrives in the next `seconds`."""
        deadline = time.perf_counter() + seconds
        while (left := deadline - time.perf_counter()) > 0:
            self._turn(left)

    def abandon(self, streams: list[Stream]) -> None:
        """Close streams before their end, as a client that disconnects does."""
        for stream in streams:
            if not stream.ended:
                self._close(stream)

    def _turn(self, timeout: float) -> None:
        for key, mask in self._selector.select(timeout):
            stream: Stream = key.data
            try:
                if mask & selectors.EVENT_WRITE:
                    self._send(stream)
                    continue
                piece = stream.connection.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise BenchmarkError(f"a connection failed: {error}") from error
            if piece:
                stream.times.append(time.perf_counter())
                stream.pieces.append(piece)
            else:
                self._close(stream)

    def _send(self, stream: Stream) -> None:
        sent = stream.connection.send(stream.request)
        stream.request = stream.request[sent:]
        if not stream.request:
            self._selector.modify(stream.connection, selectors.EVENT_READ, stream)

    def _close(self, stream: Stream) -> None:
        self._selector.unregister(stream.connection)
        stream.connection.close()
        stream.ended = True
        self._open.discard(stream)
