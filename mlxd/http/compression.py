"""Compressed bodies of requests: `Content-Encoding: gzip` or `deflate`."""

import asyncio
import zlib

from starlette.types import Message, Receive

from mlxd.errors import InvalidRequest, UnsupportedMediaType

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_BARE = -zlib.MAX_WBITS
_HEADER = 2  # bytes, from which zlib knows whether it is one
_NAMES = {"gzip", "x-gzip", "deflate"}


def decompressed(receive: Receive, encoding: str, limit: int) -> Receive:
    """Return what receives the body without its `encoding`, the value of Content-Encoding.

    It makes at most one byte more than `limit` of it, however much there is. Raises
    UnsupportedMediaType; the result raises InvalidRequest where the body is damaged.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return receive
    if name not in _NAMES:
        raise UnsupportedMediaType(
            f'Content-Encoding "{name}" is not supported: use gzip, deflate, or none'
        )
    return _Decompressor(receive, name, limit).receive


class _Decompressor:
    """The body of one request."""

    def __init__(self, receive: Receive, name: str, limit: int) -> None:
        self._receive = receive
        self._name = name
        self._left = limit + 1
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._begun = False
        self._held = b""

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        # A few bytes can become the whole limit, which takes a tenth of a second.
        body = await asyncio.to_thread(self._decompress, message.get("body", b""))
        self._left -= len(body)
        more = message.get("more_body", False)
        if not more and self._left > 0 and not self._stream.eof:
            raise self._damaged("it is cut short")
        return {**message, "body": body}

    def _decompress(self, data: bytes) -> bytes:
        if not data or self._left <= 0:
            return b""
        data = self._held + data
        if not self._begun and len(data) < _HEADER:
            self._held = data
            return b""
        self._held = b""
        try:
            body = self._stream.decompress(data, self._left)
        except zlib.error:
            if self._begun or self._name != "deflate":
                raise self._damaged("it is not in that form") from None
            # The standard says zlib, and many senders leave its header away.
            self._stream, self._begun = zlib.decompressobj(_BARE), True
            return self._decompress(data)
        self._begun = True
        if self._stream.unused_data:
            raise self._damaged("something follows its end")
        return body

    def _damaged(self, why: str) -> InvalidRequest:
        return InvalidRequest(f"the body cannot be decompressed as {self._name}: {why}")
