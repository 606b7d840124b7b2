"""HTTP itself: heads, chunks, upgrades, pipelines, slow clients, and clients that leave."""

from hypothesis import strategies as st

from tests.bad_requests.bodies import broken
from tests.bad_requests.case import Case, Expected, request
from tests.bad_requests.dialects import GENERATING, READING, Dialect
from tests.bad_requests.json_text import text_of
from tests.bad_requests.typed_bodies import texts

_GOOD = request("POST", "/v1/completions", b'{"prompt":"Hi","max_tokens":2}')
_STREAM = request("POST", "/v1/completions", b'{"prompt":"Hi","max_tokens":20,"stream":true}')
_KEPT = _GOOD.replace(b"Connection: close\r\n", b"")
_H2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_TLS = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x01" * 500

HEADS: dict[str, bytes] = {
    "nothing": b"",
    "blank lines": b"\r\n" * 5000,
    "no version": b"GET /health\r\n\r\n",
    "version 9": b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "version 0.9": b"GET /health HTTP/0.9\r\n\r\n",
    "version 1.0": b"GET /health HTTP/1.0\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: x\r\nConnection: close\r\n\r\n",
    "odd method": b"BREW /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "long method": b"A" * 70000 + b" / HTTP/1.1\r\n\r\n",
    "connect": b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "trace": b"TRACE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "absolute": b"GET http://evil.example/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "star": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "long path": b"GET /" + b"a/" * 30000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "long query": b"GET /?"
    + b"a=b&" * 10000
    + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "bytes in path": b"GET /\xff\xfe\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "percent": b"GET /%00%ff%2e%2e%2f HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
    "long header": b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "nameless header": b"GET / HTTP/1.1\r\n: x\r\nHost: localhost\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\tc\r\n\r\n",
    "line feeds": b"GET /health HTTP/1.1\nHost: localhost\nConnection: close\n\n",
    "bare returns": b"GET /health HTTP/1.1\rHost: localhost\r\r",
    "two lengths": _GOOD.replace(b"Content-Length: ", b"Content-Length: 3\r\nContent-Length: "),
    "bad length": b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "huge length": b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
    + b"9" * 30
    + b"\r\n\r\n",
    "body too large": b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 99999999999\r\n\r\n{}",
    "length and chunks": _GOOD.replace(b"\r\nHost", b"\r\nTransfer-Encoding: chunked\r\nHost", 1),
    "odd coding": _GOOD.replace(b"\r\nHost", b"\r\nTransfer-Encoding: gzip\r\nHost", 1),
    "http/2": _H2,
    "tls": _TLS,
    "ssh": b"SSH-2.0-OpenSSH_9.9\r\n",
    "smtp": b"EHLO localhost\r\nQUIT\r\n",
    "redis": b"*1\r\n$4\r\nPING\r\n",
    "garbage": bytes(range(256)) * 20,
    "zeros": b"\0" * 200_000,
    "second request is garbage": _KEPT + b"\xff\xff\xff\r\n\r\n",
    "pipeline": _KEPT * 20 + _GOOD,
    "pipeline of streams": _STREAM.replace(b"Connection: close\r\n", b"") * 4 + _GOOD,
    "pipeline behind a refusal": _KEPT.replace(b'"Hi"', b"1.5") * 5 + _GOOD,
    "upgrade to h2c": _GOOD.replace(
        b"Connection: close", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c"
    ),
    "expect": _GOOD.replace(b"Connection", b"Expect: 100-continue\r\nConnection"),
}
_CHUNKED = (
    b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
CHUNKS: dict[str, bytes] = {
    "no length": b"\r\n{}\r\n0\r\n\r\n",
    "bad length": b"zz\r\n{}\r\n",
    "negative length": b"-2\r\n{}\r\n0\r\n\r\n",
    "huge length": b"ffffffffffffffff\r\n{}",
    "overflow": b"fffffffffffffffff\r\n{}",
    "no end": b"2\r\n{}0\r\n\r\n",
    "short chunk": b"10\r\n{}\r\n0\r\n\r\n",
    "long extension": b"2;" + b"x" * 100_000 + b"\r\n{}\r\n0\r\n\r\n",
    "trailers": b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
    "one byte each": b"".join(b"1\r\n%b\r\n" % bytes([byte]) for byte in b'{"prompt":"Hi"}' * 50),
    "too large": (b"10000\r\n" + b" " * 65536 + b"\r\n") * 520,
}


def heads() -> st.SearchStrategy[Case]:
    """Return heads, bodies in chunks and pipelines that are wrong or rare."""
    named = {**HEADS, **{f"chunks: {name}": _CHUNKED + sent for name, sent in CHUNKS.items()}}

    def case(name: str, unix: bool) -> Case:
        return _case("torn HTTP", name, [named[name]], expects=Expected.REPLY_OR_CLOSE, unix=unix)

    return st.builds(case, st.sampled_from(sorted(named)), st.booleans())


def cut() -> st.SearchStrategy[Case]:
    """Return requests that end, or stop, anywhere; whose byte flips; or that something follows."""

    @st.composite
    def case(draw: st.DrawFn) -> Case:
        dialect = draw(st.sampled_from(GENERATING))
        body = text_of(dialect.request).encode()
        whole = request("POST", dialect.path, draw(broken(st.just(body))))
        place = draw(st.integers(0, len(whole) - 1))
        way = draw(st.integers(0, 3))
        pieces: list[bytes | float] = [whole[:place]]
        if way == 1:
            pieces = [whole[:place] + bytes([draw(st.integers(0, 255))]) + whole[place + 1 :]]
        elif way == 2:
            pieces = [whole + whole[:place]]
        waits = way == 3 and draw(st.integers(0, 3)) == 0
        ways = "cut", "a byte changed", "more follows", "stops" if waits else "left"
        return _case(
            "cut HTTP",
            f"{dialect.name}: {ways[way]} at {place}",
            pieces,
            expects=Expected.NOTHING if way == 3 and not waits else Expected.REPLY_OR_CLOSE,
        )

    return case()


def slow() -> st.SearchStrategy[Case]:
    """Return clients that send a byte now and then, read nothing, or leave at once."""

    @st.composite
    def case(draw: st.DrawFn) -> Case:
        dialect = draw(st.sampled_from(GENERATING))
        body = text_of({**dialect.request, "stream": draw(st.booleans())}).encode()
        whole = request("POST", dialect.path, body)
        way = draw(st.sampled_from(["slow head", "slow body", "unread", "left", "left soon"]))
        expects, linger, read = Expected.REPLY_OR_CLOSE, 0.0, True
        pieces: list[bytes | float] = [whole]
        if way == "slow head":
            pieces = [part for byte in whole[:60] for part in (bytes([byte]), 0.2)]
        elif way == "slow body":
            pieces = [whole[:-20], *(part for byte in whole[-20:] for part in (bytes([byte]), 0.5))]
        else:
            expects, read = Expected.NOTHING, False
            linger = {"unread": 3.0, "left": 0.0, "left soon": 0.1}[way]
            pieces = [_long(dialect)]
        return _case(
            "slow or gone", f"{dialect.name}: {way}", pieces, expects, read=read, linger=linger
        )

    return case()


def reads() -> st.SearchStrategy[Case]:
    """Return requests without a body for any path, with any method."""

    @st.composite
    def case(draw: st.DrawFn) -> Case:
        path = draw(st.sampled_from(READING))
        word = draw(texts).encode("utf-8", "surrogatepass").replace(b" ", b"%20")[:3000]
        if draw(st.booleans()):
            word = "".join(f"%{byte:02x}" for byte in word).encode()
        query = draw(
            st.sampled_from(["", "?stream=true", "?limit=-1", "?after=\xff", "?a=" + "b" * 9000])
        )
        method = draw(
            st.sampled_from(
                ["GET", "GET", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"]
            )
        )
        unix = draw(st.booleans()) and method in ("GET", "HEAD")
        target = path.encode().replace(b"{}", word) + query.encode("latin-1")
        head = request(method, "", b"").replace(b"  ", b" " + target + b" ", 1)
        whole = all(0x20 < byte < 0x7F for byte in target)
        return _case(
            "reading",
            f"{method} {path}",
            [head],
            Expected.REPLY if whole and method != "HEAD" else Expected.REPLY_OR_CLOSE,
            unix=unix,
        )

    return case()


def _long(dialect: Dialect) -> bytes:
    many = {"stream": True, "max_tokens": 2000, "ignore_eos": True}
    body = {**dialect.request, **many, "max_output_tokens": 2000, "options": {"num_predict": 2000}}
    return request("POST", dialect.path, text_of(body).encode())


def _case(
    kind: str,
    name: str,
    pieces: list[bytes | float],
    expects: Expected,
    *,
    unix: bool = False,
    read: bool = True,
    linger: float = 0.0,
) -> Case:
    return Case(
        kind=kind, name=name, pieces=pieces, expects=expects, unix=unix, read=read, linger=linger
    )
