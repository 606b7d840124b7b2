"""A daemon without models: its control and chat routes answer as scripted, over a Unix socket."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

from mlxd import __version__

CHAT = ("POST", "/v1/chat/completions")
DONE = b"data: [DONE]\n\n"


@dataclass
class Stream:
    """The pieces of an answer, one chunk each; then its end, or none at all."""

    pieces: list[bytes]
    ends: bool = True
    # Set by a test that wants to look before the pieces after the first come.
    go_on: threading.Event = field(default_factory=threading.Event)


@dataclass
class FakeDaemon:
    socket: Path
    version: str = __version__
    replies: dict[tuple[str, str], object] = field(
        default_factory=lambda: {("GET", "/control/v1/pulls"): (200, b'{"pulls": []}')}
    )
    bodies: list[dict] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)

    def answers(self, route: tuple[str, str], reply: object, status: int = 200) -> None:
        self.replies[route] = (status, json.dumps(reply).encode())

    def streams(
        self,
        *pieces: bytes,
        ends: bool = True,
        waits: bool = False,
        route: tuple[str, str] = CHAT,
    ) -> Stream:
        stream = Stream(list(pieces), ends)
        if not waits:
            stream.go_on.set()
        self.replies[route] = stream
        return stream


def event(data: object) -> bytes:
    """One server-sent event."""
    return b"data: %b\n\n" % json.dumps(data).encode()


def chunk(content: str = "", **fields: object) -> bytes:
    """A piece of an answer as the daemon sends it."""
    choices = [{"index": 0, "delta": {"content": content}, "finish_reason": None}]
    return event({"id": "x", "model": "tiny", "choices": choices, **fields})


def finish(reason: str = "stop") -> bytes:
    return chunk(choices=[{"index": 0, "delta": {}, "finish_reason": reason}])


def usage(prompt: int, completion: int) -> bytes:
    counts = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    return chunk(choices=[], usage=counts)


@contextmanager
def fake_daemon(socket: Path) -> Iterator[FakeDaemon]:
    """Run one on `socket` until the block ends."""
    daemon = FakeDaemon(socket)
    socket.parent.mkdir(parents=True, exist_ok=True)

    class Handler(_Handler):
        fake = daemon

    with ThreadingUnixStreamServer(str(socket), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield daemon
        finally:
            server.shutdown()
            thread.join()
            socket.unlink()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeDaemon

    def do_GET(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self.fake.deleted.append(self.path)
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if body:
            self.fake.bodies.append(json.loads(body))
        self.fake.asked.set()
        self._answer()

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self) -> None:
        reply = self.fake.replies[self.command, self.path]
        if isinstance(reply, Stream):
            self._stream(reply)
            return
        status, body = reply
        self._head(status, "content-length", str(len(body)))
        self.wfile.write(body)

    def _head(self, status: int, name: str, value: str) -> None:
        self.send_response(status)
        self.send_header("x-mlxd-version", self.fake.version)
        self.send_header(name, value)
        self.end_headers()

    def _stream(self, stream: Stream) -> None:
        self.close_connection = True
        try:
            self._head(200, "transfer-encoding", "chunked")
            for piece in stream.pieces:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                if not stream.go_on.wait(30):
                    return
            if stream.ends:
                self.wfile.write(b"0\r\n\r\n")
        except BrokenPipeError:
            self.fake.gone.set()
