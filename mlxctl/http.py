"""A minimal HTTP/1.1 client for Unix sockets.

`http.client` would do, but importing it takes a quarter of the time that `mlxctl status` may take.
Source: RFC 9112; one request per connection, replies with a Content-Length or in chunks.
"""

import contextlib
import socket
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path

_MAX_LINE = 65536


class BrokenReply(Exception):
    """The reply is incomplete or not HTTP; the message goes on from "the reply"."""


class Response:
    """A reply whose head has been read; `headers` has its names in lower case."""

    def __init__(self, stream: BufferedReader) -> None:
        protocol, _, rest = _line(stream).partition(b" ")
        code = rest[:3]
        if not protocol.startswith(b"HTTP/1.") or not code.isdigit():
            raise BrokenReply("is not HTTP")
        self.status = int(code)
        self.headers: dict[str, str] = {}
        while line := _line(stream):
            name, _, value = line.decode("latin-1").partition(":")
            self.headers[name.lower()] = value.strip()
        self._stream = stream

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(self._blocks())

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the body as they come, without their ends."""
        rest = b""
        for block in self._blocks():
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
        if rest:
            yield rest

    def _blocks(self) -> Iterator[bytes]:
        if self.headers.get("transfer-encoding") != "chunked":
            yield self._exactly(_number(self.headers.get("content-length", ""), 10))
            return
        while size := _number(_line(self._stream).partition(b";")[0].decode("latin-1"), 16):
            yield self._exactly(size)
            self._exactly(len(b"\r\n"))

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise BrokenReply("ended early")
        return data


@contextlib.contextmanager
def request(
    file: Path, method: str, target: str, body: bytes | None, timeout: float
) -> Iterator[Response]:
    """Send a request with a JSON `body`, or none, to the socket `file`, and yield the response.

    Leaving the block closes the connection. `timeout` is how many seconds the daemon may be silent.

    Raises:
        OSError: the socket raised it.
        BrokenReply: the reply is incomplete or not HTTP; also while the body is read.
    """
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(str(file))
        # The daemon replies without reading the rest of a body that it refuses.
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(f"{head}\r\n".encode() + (body or b""))
        with connection.makefile("rb") as stream:
            yield Response(stream)


def sse_fields(lines: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield name and value of each field in the lines of a server-sent event stream.

    A comment has the name "".
    """
    for line in lines:
        if line:
            name, _, value = line.partition(b":")
            yield name.decode(errors="replace"), value.removeprefix(b" ")


def _line(stream: BufferedReader) -> bytes:
    line = stream.readline(_MAX_LINE)
    if not line.endswith(b"\n"):
        raise BrokenReply("ended early")
    return line.rstrip(b"\r\n")


def _number(digits: str, base: int) -> int:
    try:
        return int(digits, base)
    except ValueError as error:
        raise BrokenReply("is not HTTP") from error
