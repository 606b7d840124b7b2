"""Servers that do not take everything, and what is asked of them then."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mlxctl.bench.address import ServerAddress, find
from mlxctl.bench.measure import Samples
from mlxctl.bench.runs import CHAT, TEXT
from mlxctl.bench.session import Session, try_out_all
from mlxctl.bench.summary import short_answers
from mlxctl.errors import BenchmarkError, BenchmarkRefused


class PickyServer(ThreadingHTTPServer):
    """A server of chat alone, which knows no `ignore_eos` and whose answers have 3 tokens.

    `asked` are the paths and bodies of its requests.
    """

    def __init__(self, *, key: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.key = key
        self.asked: list[tuple[str, dict]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: PickyServer

    def do_GET(self) -> None:
        self._answer(200, {"data": [{"id": "one"}, {"id": "owner/Two"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body))
        if self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}":
            self._answer(401, {"error": {"message": "no key"}})
        elif not self.path.endswith(CHAT):
            self._answer(404, {"detail": "Not Found"})
        elif "ignore_eos" in body:
            self._answer(400, {"error": {"message": "unknown field ignore_eos"}})
        else:
            usage = {"prompt_tokens": 7, "completion_tokens": 3}
            texts = [{"choices": [{"delta": {"content": "a"}}]}] * 3
            events = [*texts, {"choices": [], "usage": usage}]
            lines = [f"data: {json.dumps(event)}" for event in events]
            self._send(200, "\n\n".join([*lines, "data: [DONE]", ""]).encode())

    def _answer(self, status: int, reply: object) -> None:
        self._send(status, json.dumps(reply).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def picky(key: str | None = None) -> Iterator[PickyServer]:
    with PickyServer(key=key) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_asked_in_the_way_that_it_takes() -> None:
    with picky() as server:
        address, models = find(f"{server.url}/v1/", None)
        assert models == ["one", "owner/Two"]
        with Session("other", address, "one") as session:
            runs = try_out_all([session], "Hello", 8, 10.0)
            run = session.run(["Hello", "Good-bye"], 8, 10.0)
        asked = [(path, "ignore_eos" in body) for path, body in server.asked]
    assert asked == [(TEXT, True), (CHAT, True), (CHAT, False), (CHAT, False), (CHAT, False)]
    assert runs["other"].completion_tokens == [3]
    assert run.completion_tokens == [3, 3]
    assert server.asked[-1][1]["model"] == "one"
    assert list(short_answers(Samples(tokens=8, runs={("other", 1, 2): {0: run}}))) == ["other"]


def test_key() -> None:
    with picky(key="sk-1") as server:
        address, _ = find(server.url, "sk-1")
        with Session("other", address, "one") as session:
            session.try_out(CHAT, "Hello", 8, 10.0)
        address, _ = find(server.url, "sk-2")
        with (
            Session("other", address, "one") as session,
            pytest.raises(BenchmarkRefused, match=r"^status 401: no key$"),
        ):
            session.try_out(CHAT, "Hello", 8, 10.0)


def test_stream_that_takes_too_long_is_closed() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Session("other", ServerAddress.of_port(silent.getsockname()[1]), "one") as session,
    ):
        with pytest.raises(BenchmarkError, match="did not end within 0 s"):
            session.run(["Hello"], 8, 0.1)
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(10.0)
            while connection.recv(65536):  # its request, and then the end
                pass
