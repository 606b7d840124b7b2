"""A light streaming client: one thread, one selector, nothing parsed until the streams have ended.

While streams run, each arrival costs one `recv` and two list appends, so that client and servers
can share two cores. `Stream.reply` parses afterwards and checks the answer.
"""

import contextlib
import json
import selectors
import socket
import ssl
import time

from mlxctl.bench.address import ServerAddress
from mlxctl.bench.streams import Stream
from mlxctl.errors import BenchmarkError

_RECEIVE_BYTES = 16384
USUAL_SECONDS = 900.0


class StreamingClient:
    """Sends requests for `model` to one server; a context manager that closes what is open."""

    def __init__(self, server: ServerAddress, model: str = "default_model") -> None:
        self._server = server
        self._model = model
        self._selector = selectors.DefaultSelector()
        self._open: set[Stream] = set()
        self.cpu_seconds = 0.0
        self.wall_seconds = 0.0

    def __enter__(self) -> "StreamingClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon_all()
        self._selector.close()

    def start(self, path: str, body: dict[str, object]) -> Stream:
        """Begin a streamed request with greedy decoding; `wait` or `read_for` continues it.

        Raises:
            BenchmarkError: there is no connection to the server.
        """
        stream = Stream(self._request(path, body), self._socket(), time.perf_counter())
        connection = stream.connection
        try:
            if connection.family == socket.AF_UNIX:  # does not wait, unless the queue is full
                connection.connect(self._server.where)
                connection.setblocking(False)
            else:
                connection.setblocking(False)
                connection.connect_ex(self._server.where)
        except OSError as error:
            connection.close()
            raise _failed(error) from error
        self._selector.register(connection, selectors.EVENT_WRITE, stream)
        self._open.add(stream)
        return stream

    def wait(self, streams: list[Stream], *, timeout: float = USUAL_SECONDS) -> None:
        """Read on until all of `streams` have ended.

        Raises:
            BenchmarkError: when a connection fails, or after `timeout` seconds.
        """
        deadline = time.perf_counter() + timeout
        started, used = time.perf_counter(), time.thread_time()
        while not all(stream.ended for stream in streams):
            left = deadline - time.perf_counter()
            if left <= 0:
                raise BenchmarkError(f"a stream did not end within {timeout:.0f} s")
            self._turn(min(left, 1.0))
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

    def abandon_all(self) -> None:
        """Close every stream that has not ended."""
        self.abandon(list(self._open))

    def _request(self, path: str, body: dict[str, object]) -> bytes:
        payload = json.dumps(
            {
                "model": self._model,
                "temperature": 0.0,
                "stream": True,
                "stream_options": {"include_usage": True},
                **body,
            }
        ).encode()
        headers = {
            "Host": self._server.host,
            "Content-Type": "application/json",
            "Content-Length": str(len(payload)),
            "Connection": "close",
            **self._server.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self._server.prefix}{path} HTTP/1.1\r\n{lines}\r\n".encode() + payload

    def _socket(self) -> socket.socket:
        connection = socket.socket(self._server.family)
        if self._server.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._server.tls is None:
            return connection
        # The handshake is made by the first send, within the time that is measured.
        return self._server.tls.wrap_socket(
            connection, server_hostname=self._server.name, do_handshake_on_connect=False
        )

    def _turn(self, timeout: float) -> None:
        for key, mask in self._selector.select(timeout):
            stream: Stream = key.data
            try:
                if stream.request:
                    self._send(stream)
                elif mask & selectors.EVENT_READ:
                    self._receive(stream)
            except ssl.SSLWantReadError:
                self._selector.modify(stream.connection, selectors.EVENT_READ, stream)
            except (BlockingIOError, ssl.SSLWantWriteError):
                continue
            except OSError as error:
                raise _failed(error) from error

    def _send(self, stream: Stream) -> None:
        sent = stream.connection.send(stream.request)
        stream.request = stream.request[sent:]
        events = selectors.EVENT_WRITE if stream.request else selectors.EVENT_READ
        self._selector.modify(stream.connection, events, stream)

    def _receive(self, stream: Stream) -> None:
        piece = stream.connection.recv(_RECEIVE_BYTES)
        if not piece:
            self._close(stream)
            return
        stream.take(piece)
        # What TLS has already decrypted, the selector does not see.
        if isinstance(stream.connection, ssl.SSLSocket):
            while waiting := stream.connection.pending():
                stream.take(stream.connection.recv(waiting))

    def _close(self, stream: Stream) -> None:
        self._selector.unregister(stream.connection)
        with contextlib.suppress(OSError):
            stream.connection.close()
        stream.ended = True
        self._open.discard(stream)


def _failed(error: OSError) -> BenchmarkError:
    return BenchmarkError(f"a connection failed: {error.strerror or error}")
