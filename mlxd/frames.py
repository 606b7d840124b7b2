"""Messages as bytes on the socket between the daemon and an engine.

A frame is a four-byte big-endian length and that many bytes, a list of messages in MessagePack.
"""

from collections.abc import Iterator

import msgspec

from mlxd.messages import DaemonMessage, EngineMessage

MAX_FRAME_BYTES = 256 * 1024 * 1024
_LENGTH_BYTES = 4

_encoder = msgspec.msgpack.Encoder()
decode_daemon_frame = msgspec.msgpack.Decoder(list[DaemonMessage]).decode
"""Decode a frame's payload as the engine receives it; raises msgspec.DecodeError."""
decode_engine_frame = msgspec.msgpack.Decoder(list[EngineMessage]).decode
"""Decode a frame's payload as the daemon receives it; raises msgspec.DecodeError."""


def encode_frame(messages: list[DaemonMessage] | list[EngineMessage]) -> bytes:
    """Encode `messages` as one frame, length prefix included."""
    payload = _encoder.encode(messages)
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload


class FrameSplitter:
    """Splits a byte stream into the payloads of its frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes of the stream and yield each payload that is complete.

        Raises ValueError for a frame longer than MAX_FRAME_BYTES.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= _LENGTH_BYTES:
            size = int.from_bytes(buffer[start : start + _LENGTH_BYTES], "big")
            if size > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {size} bytes is over the limit of {MAX_FRAME_BYTES}")
            end = start + _LENGTH_BYTES + size
            if end > len(buffer):
                break
            yield bytes(buffer[start + _LENGTH_BYTES : end])
            start = end
        del buffer[:start]
