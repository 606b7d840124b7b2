"""What the benchmark reads from a stream."""

import json
import socket
from collections.abc import Iterator

import pytest

from mlxctl.bench.streams import Stream
from mlxctl.errors import BenchmarkError, BenchmarkRefused

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    with socket.socket() as connection:
        yield connection


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def test_reply_has_the_text_with_its_times_and_the_cached_tokens(
    connection: socket.socket,
) -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 7},
    }
    pieces = [
        HEAD + b": prefill 2048/9000\n\n",
        event(choices=[{"delta": {"reasoning": "Hm"}}]),
        event(choices=[{"delta": {"content": "Yes"}, "finish_reason": "stop"}]),
        event(choices=[], usage=usage) + b"data: [DONE]\n\n",
    ]
    reply = Stream(b"", connection, 10.0, [11.0, 12.0, 13.0, 14.0], pieces).reply(tokens=2)

    assert reply.text == "HmYes"
    assert reply.text_times == [2.0, 3.0]
    assert reply.cached_of_prompt == "7 of 9"


def test_reply_that_tells_no_cached_tokens(connection: socket.socket) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1}
    piece = HEAD + event(choices=[{"text": "a"}], usage=usage) + b"data: [DONE]\n\n"

    assert Stream(b"", connection, 0.0, [1.0], [piece]).reply().cached_of_prompt == "? of 9"


def test_lines_that_end_as_in_other_servers(connection: socket.socket) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1}
    whole = HEAD + event(choices=[{"text": "a"}], usage=usage) + b"data: [DONE]\n\n"
    pieces = [whole.replace(b"\n", b"\r\n").replace(b"\r\r", b"\r").replace(b"data: ", b"data:")]

    assert Stream(b"", connection, 0.0, [1.0], pieces).reply(tokens=1).text == "a"


def test_refusal_has_the_status_and_what_the_server_says(connection: socket.socket) -> None:
    said = b'{"error": {"message": "no\\nsuch model"}}'
    piece = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said)

    with pytest.raises(BenchmarkRefused, match=r"^status 404: no such model$") as refusal:
        Stream(b"", connection, 0.0, [1.0], [piece]).reply()
    assert refusal.value.answered == 404


@pytest.mark.parametrize(
    ("piece", "fault"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nlong", "status 503"),
        (HEAD + event(error={"message": "no"}), "an error within a stream"),
        (HEAD + event(choices=[{"text": "a"}]), r"without \[DONE\]"),
        (HEAD + b"data: [DONE]\n\n", "no text or no usage"),
        (HEAD + b"data: {}\n\n", "not as OpenAI's: KeyError"),
        (b"220 mail.example ESMTP\r\n", "not as OpenAI's"),
        (b"", r"without \[DONE\]"),
    ],
)
def test_stream_that_does_not_count(connection: socket.socket, piece: bytes, fault: str) -> None:
    with pytest.raises(BenchmarkError, match=fault):
        Stream(b"", connection, 0.0, [1.0], [piece]).reply()
