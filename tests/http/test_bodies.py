"""Bodies as clients send them: compressed, in other character sets, with half a character."""

import codecs
import gzip
import json
import threading
import tracemalloc
import zlib

import pytest

from mlxd.http.app import public_app
from tests.http.conftest import client_of
from tests.support.http_fakes import make_dependencies

TEXT = "Grüße 😀"
BODY = json.dumps({"prompt": TEXT}, ensure_ascii=False)
BARE = zlib.compressobj(wbits=-15)


async def post(client, content, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/v1/completions", content=content, headers=headers)


@pytest.fixture
def client(pool):
    return client_of(public_app(make_dependencies(pool, max_body=100_000)))


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(BODY.encode(), mtime=0)),
        ("X-GZIP", gzip.compress(BODY.encode(), mtime=0)),
        ("deflate", zlib.compress(BODY.encode())),
        ("deflate", BARE.compress(BODY.encode()) + BARE.flush()),
        ("identity", BODY.encode()),
    ],
)
async def test_a_compressed_body(client, pool, encoding, body):
    async def pieces():
        for byte in body:
            yield bytes([byte])

    for content in (body, pieces()):
        reply = await post(client, content, content_encoding=encoding)
        assert reply.status_code == 200, reply.text
        assert pool.requests.pop().prompt.text == TEXT


@pytest.mark.parametrize(
    ("encoding", "body", "status", "message"),
    [
        ("br", b"", 415, 'Content-Encoding "br" is not supported: use gzip, deflate, or none'),
        ("gzip", BODY.encode(), 400, "as gzip: it is not in that form"),
        ("gzip", gzip.compress(BODY.encode(), mtime=0)[:-9], 400, "as gzip: it is cut short"),
        (
            "gzip",
            gzip.compress(BODY.encode(), mtime=0) * 2,
            400,
            "as gzip: something follows its end",
        ),
        ("gzip", gzip.compress(b" " * 100_001, mtime=0), 413, "larger than 100000 bytes"),
    ],
)
async def test_a_body_that_cannot_be_decompressed(client, encoding, body, status, message):
    reply = await post(client, body, content_encoding=encoding)
    assert reply.status_code == status
    assert message in reply.json()["error"]["message"]


async def test_a_bomb_takes_no_memory(client):
    bomb = gzip.compress(bytes(80_000_000))
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        reply = await post(client, bomb, content_encoding="gzip")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert reply.status_code == 413


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", BODY.encode("utf-8-sig")),  # PowerShell's and Notepad's
        ("application/json; charset=utf-16", BODY.encode("utf-16")),
        ("", BODY.encode("utf-16-le")),
        ("text/plain; charset=ISO-8859-1", BODY.encode()),  # which it is not
    ],
)
async def test_other_character_sets(client, pool, content_type, body):
    reply = await post(client, body, content_type=content_type)
    assert reply.status_code == 200, reply.text
    assert pool.requests[0].prompt.text == TEXT


async def test_a_western_character_set_must_be_named(client, pool):
    body = '{"prompt": "Grüße"}'.encode("latin-1")
    assert (await post(client, body)).status_code == 400
    named = 'application/json; Charset="ISO-8859-1"'
    assert (await post(client, body, content_type=named)).status_code == 200
    assert pool.requests[0].prompt.text == "Grüße"


async def test_long_western_bodies_are_read_off_the_event_loop(client, pool, monkeypatch):
    threads = []

    def charmap_decode(*given):
        threads.append(threading.current_thread())
        return codecs.charmap_decode(*given)

    monkeypatch.setattr("mlxd.http.connection.charmap_decode", charmap_decode)
    body = b'{"prompt": "' + bytes([0x80, 0x81, 0xFC]) * 25_000 + b'"}'
    reply = await post(client, body, content_type="text/plain; charset=cp1252")
    assert reply.status_code == 200, reply.text
    assert pool.requests[0].prompt.text == "\u20ac\ufffd\xfc" * 25_000
    assert threading.main_thread() not in threads


async def test_bodies_are_decompressed_off_the_event_loop(client, monkeypatch):
    threads = []

    class Stream:
        eof, unused_data = True, b""

        def decompress(self, data, most):
            threads.append(threading.current_thread())
            return BODY.encode()

    monkeypatch.setattr("mlxd.http.compression.zlib.decompressobj", lambda *_: Stream())
    reply = await post(client, b"anything", content_encoding="gzip")
    assert reply.status_code == 200, reply.text
    assert len(threads) == 1
    assert threading.main_thread() not in threads
