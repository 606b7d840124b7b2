"""Messages and frames over a WebSocket, whole and torn."""

import os
import struct

from hypothesis import strategies as st

from tests.bad_requests.bodies import broken
from tests.bad_requests.case import Case, Expected
from tests.bad_requests.dialects import GENERATING
from tests.bad_requests.json_text import text_of
from tests.bad_requests.poison import ALL, spelled
from tests.bad_requests.typed_bodies import bodies

_RESPONSES = next(each for each in GENERATING if each.name == "responses")
_HEAD = (
    b"GET /v1/responses HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_END = 0x80
_MASK = os.urandom(4)


def frame(opcode: int, data: bytes, *, final: bool = True, mask: bytes = _MASK) -> bytes:
    """Return one frame as clients send it; without a `mask` it is not valid."""
    masked = 0x80 if mask else 0
    if len(data) < 126:
        size = bytes([masked | len(data)])
    elif len(data) < 65536:
        size = bytes([masked | 126]) + struct.pack("!H", len(data))
    else:
        size = bytes([masked | 127]) + struct.pack("!Q", len(data))
    key = (mask * (len(data) // 4 + 1))[: len(data)] if mask else bytes(len(data))
    mixed = (int.from_bytes(data) ^ int.from_bytes(key)).to_bytes(len(data)) if data else b""
    return bytes([(_END if final else 0) | opcode]) + size + mask + mixed


_CREATE = text_of({"type": "response.create", **_RESPONSES.request}).encode()
FRAMES: dict[str, bytes] = {
    "nothing": b"",
    "not masked": frame(TEXT, _CREATE, mask=b""),
    "odd opcode": frame(5, b"x"),
    "reserved bits": b"\xf1\x80" + _MASK,
    "long ping": frame(PING, b"x" * 200),
    "pings": frame(PING, b"x" * 125) * 5000,
    "pongs": frame(PONG, b"") * 5000,
    "continues nothing": frame(0, b"x"),
    "two beginnings": frame(TEXT, b"{", final=False) + frame(TEXT, b"{"),
    "empty parts": frame(TEXT, b"", final=False) * 20000,
    "never ends": frame(TEXT, b"x" * 65000, final=False) * 20,
    "huge length": b"\x81\xff" + struct.pack("!Q", 2**63 - 1) + _MASK + b"x" * 100,
    "too large": frame(TEXT, b" " * 33_000_000),
    "bad utf-8": frame(TEXT, b"\xff\xfe"),
    "half utf-8": frame(TEXT, b"\xe2\x82", final=False),
    "binary": frame(BINARY, _CREATE),
    "bad close": frame(CLOSE, b"\x00"),
    "close": frame(CLOSE, struct.pack("!H", 1000)),
    "odd close": frame(CLOSE, struct.pack("!H", 5) + b"\xff"),
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "many turns": frame(TEXT, _CREATE) * 40,
    "many large turns": frame(TEXT, b" " * 1_000_000 + _CREATE) * 30,
    "torn": frame(TEXT, _CREATE)[:-3],
}


def frames() -> st.SearchStrategy[Case]:
    """Return frames that are wrong, and clients that leave in the middle of one."""

    def case(name: str, leaves: bool, end: bool) -> Case:
        sent = FRAMES[name] + (frame(CLOSE, struct.pack("!H", 1000)) if end else b"")
        return Case(
            kind="WebSocket frames",
            name=name + (", left" if leaves else ""),
            pieces=[_HEAD, 0.01, sent],
            expects=Expected.NOTHING,
            linger=0.0 if leaves else 0.5,
            read=not leaves,
        )

    return st.builds(case, st.sampled_from(sorted(FRAMES)), st.booleans(), st.booleans())


def messages() -> st.SearchStrategy[Case]:
    """Return turns with bad fields, poison or broken bytes, after which the socket is closed."""
    typed = bodies(_RESPONSES)
    poison = st.builds(
        lambda name, size: spelled(ALL[name](size), _RESPONSES),
        st.sampled_from(sorted(ALL)),
        st.sampled_from([1, 9, 100, 1000]),
    )

    @st.composite
    def case(draw: st.DrawFn) -> Case:
        sent = b""
        for _ in range(draw(st.integers(1, 3))):
            body = draw(typed | typed | poison)
            if isinstance(body, dict):
                body = {"type": "response.create", **body}
            sent += frame(TEXT, draw(broken(st.just(text_of(body).encode()))))
        return Case(
            kind="WebSocket turns",
            name=f"{len(sent)} bytes",
            pieces=[_HEAD, 0.01, sent],
            expects=Expected.NOTHING,
            linger=1.0,
        )

    return case()
