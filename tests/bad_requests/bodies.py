"""How a body is wrapped into HTTP, and what is broken of its bytes on the way."""

import gzip
import zlib
from collections.abc import Callable

from hypothesis import strategies as st

from tests.bad_requests.case import Case, Expected, request
from tests.bad_requests.dialects import Dialect
from tests.bad_requests.json_text import text_of
from tests.bad_requests.typed_bodies import bodies

Breaking = Callable[[bytes, int], bytes]

_CHARSETS = [
    "utf-8",
    "utf-16",
    "utf-16le",
    "utf-32",
    "iso-8859-1",
    "utf-7",
    "idna",
    "rot13",
    "\xff",
]
_KINDS = ["application/json", "text/plain", "", "application/xml", "multipart/form-data", "x" * 500]


def _insert(data: bytes) -> Breaking:
    return lambda body, place: body[:place] + data + body[place:]


_BREAKINGS: list[Breaking] = [
    lambda body, place: body[:place],
    lambda body, place: body[place:],
    lambda body, place: body[:place] + body[place + 1 :],
    lambda body, place: body[:place] + bytes([body[place] ^ 0x80]) + body[place + 1 :],
    lambda body, place: body[:place] + bytes([body[place] ^ 0x01]) + body[place + 1 :],
    lambda body, place: body + body,
    lambda body, place: b"[" * 1000 + body,
    lambda body, place: b"\xef\xbb\xbf" + body,
    lambda body, place: body.decode().encode("utf-16"),
    lambda body, place: body.decode().encode("utf-16be"),
    lambda body, place: body.decode().encode("utf-32"),
    *map(_insert, (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\0", b"\\u0000")),
    *map(_insert, (b"\\ud800", b"\xe2\x82", b"\\", b'"', b"\x7f", b"\r\n\r\n", b"/*", b",,")),
]


def broken(body: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Return bodies, one in four with broken bytes."""

    def breaks(data: bytes, share: float, breaking: Breaking | None) -> bytes:
        return breaking(data, int(share * (len(data) - 1))) if breaking and data else data

    one_in_four = st.none() | st.none() | st.none() | st.sampled_from(_BREAKINGS)
    return st.builds(breaks, body, st.floats(0, 1), one_in_four)


def typed(dialect: Dialect) -> st.SearchStrategy[Case]:
    """Return requests of one dialect with bad fields, bad bytes, bad headers or bad framing."""
    texts = bodies(dialect).map(lambda value: text_of(value).encode())

    @st.composite
    def case(draw: st.DrawFn) -> Case:
        body = draw(broken(texts))
        pieces = [draw(_framed(dialect, body))]
        if draw(st.integers(0, 19)) == 0:  # torn in two or three
            place, other = sorted(draw(st.tuples(*[st.integers(0, len(pieces[0]))] * 2)))
            whole = pieces[0]
            pieces = [whole[:place], 0.01, whole[place:other], 0.01, whole[other:]]
        return Case(kind=dialect.name, name=f"{len(body)} bytes", pieces=pieces, unix=dialect.unix)

    return case()


def _framed(dialect: Dialect, body: bytes) -> st.SearchStrategy[bytes]:
    def framed(headers: dict[str, str], packed: int) -> bytes:
        data = body
        if packed == 1:
            data, headers = gzip.compress(body, 1, mtime=0), headers | {"Content-Encoding": "gzip"}
        elif packed == 2:
            data, headers = zlib.compress(body, 1)[:-2], headers | {"Content-Encoding": "deflate"}
        elif packed == 3:
            headers = headers | {"Content-Encoding": "gzip"}
        elif packed == 4:
            return chunked(dialect.method, dialect.path, body, headers)
        return request(dialect.method, dialect.path, data, headers)

    return st.builds(framed, _headers, st.integers(0, 30))


_plain: st.SearchStrategy[dict[str, str]] = st.just({})
_odd = st.one_of(
    st.sampled_from(_KINDS).map(lambda kind: {"Content-Type": kind}),
    st.sampled_from(_CHARSETS).map(lambda name: {"Content-Type": f"text/plain; charset={name}"}),
    st.just({"Expect": "100-continue"}),
    st.just({"Expect": "200-ok"}),
    st.just({"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMA"}),
    st.just({"Connection": "Upgrade", "Upgrade": "websocket"}),
    st.just({"Accept": "application/xml", "Accept-Encoding": "br;q=1.0, *;q=0"}),
    st.just({"Authorization": "Bearer \xff\xfe"}),
    st.just({"Authorization": "Basic " + "A" * 4001}),
    st.just({"X-Request-Id": "\x01\x02" * 60}),
    st.just({"anthropic-version": "x" * 3000, "anthropic-beta": "," * 3000}),
    st.just({"Cookie": "a=b; " * 3000}),
    st.sampled_from(["evil.example", "", "localhost:99999", "[::1", "a" * 300, "127.0.0.1@x"]).map(
        lambda host: {"Host": host}
    ),
    st.sampled_from(["null", "http://evil.example", "x", "http://localhost"]).map(
        lambda origin: {"Origin": origin}
    ),
)
_headers = st.one_of(*[_plain] * 6, _odd)


def chunked(method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return a request whose body comes in chunks, with what chunks may carry besides."""
    half = len(body) // 2
    sent = b"".join(
        b"%X;name=value\r\n%b\r\n" % (len(part), part)
        for part in (body[:half], body[half:])
        if part
    )
    head = request(method, path, b"", headers | {"Transfer-Encoding": "chunked"})
    return head.replace(b"Content-Length: 0\r\n", b"") + sent + b"0\r\nX-Trailer: y\r\n\r\n"


def large(dialect: Dialect) -> st.SearchStrategy[Case]:
    """Return bodies that are large, packed or not, and not JSON or hardly any."""
    fills = [
        b" ",
        b"[",
        b"{}",
        b"[],",
        b'"a",',
        b"0,",
        b'{"a":',
        b"\0",
        b"\xff",
        b"\\u0000",
        b"1e9,",
    ]

    def case(fill: bytes, size: int, packed: bool) -> Case:
        body = b'{"messages":[' + fill * (size // len(fill))
        headers = {"Content-Encoding": "gzip"} if packed else {}
        data = gzip.compress(body, 1, mtime=0) if packed else body
        return Case(
            kind="large bodies",
            name=f"{dialect.name}: {len(body)} bytes of {fill!r}{', packed' if packed else ''}",
            pieces=[request(dialect.method, dialect.path, data, headers)],
            # Who sends more than is read may see the connection end before the reply.
            expects=Expected.REPLY if len(data) < 30_000_000 else Expected.REPLY_OR_CLOSE,
            unix=dialect.unix,
        )

    sizes = st.sampled_from([100_000, 1_000_000, 5_000_000, 33_000_000])
    return st.builds(case, st.sampled_from(fills), sizes, st.booleans())
