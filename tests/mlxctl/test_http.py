from io import BufferedReader, BytesIO

import pytest

from mlxctl.http import BrokenReply, Response, sse_fields

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def response(data: bytes) -> Response:
    return Response(BufferedReader(BytesIO(data)))


def test_a_body_of_known_length() -> None:
    found = response(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nX-Thing:  one\r\n\r\nokmore")
    assert found.status == 404
    assert found.headers["x-thing"] == "one"
    assert found.read() == b"ok"


def test_a_body_in_chunks() -> None:
    assert response(CHUNKED + b"3;name=x\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n").read() == (
        b"abc0123456789"
    )


def test_lines_may_be_cut_anywhere() -> None:
    body = b"3\r\none\r\n5\r\n\ntwo\n\r\n4\r\n\nend\r\n0\r\n\r\n"
    assert list(response(CHUNKED + body).lines()) == [b"one", b"two", b"", b"end"]


def test_a_line_is_given_before_the_next_comes() -> None:
    lines = response(CHUNKED + b"4\r\none\n\r\n").lines()
    assert next(lines) == b"one"
    with pytest.raises(BrokenReply, match="ended early"):
        next(lines)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfour",
        CHUNKED,
        CHUNKED + b"5\r\nfour",
        CHUNKED + b"4\r\nfour",
        CHUNKED + b"4\r\nfour\r\n",
    ],
)
def test_an_early_end_is_told(data: bytes) -> None:
    with pytest.raises(BrokenReply, match="ended early"):
        response(data).read()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-thing\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nno length",
        CHUNKED + b"zz\r\n",
    ],
)
def test_what_is_no_http_is_told(data: bytes) -> None:
    with pytest.raises(BrokenReply, match="is not HTTP"):
        response(data).read()


def test_the_fields_of_an_event_stream() -> None:
    lines = [b": loading 41%", b"", b'data: {"a": 1}', b"", b"event:end", b"data", b"data: [DONE]"]
    assert [*sse_fields(lines)] == [
        ("", b"loading 41%"),
        ("data", b'{"a": 1}'),
        ("event", b"end"),
        ("data", b""),
        ("data", b"[DONE]"),
    ]
