"""Messages as bytes on the socket between the daemon and an engine.

A frame is a four-byte big-endian length and that many bytes, a list of messages in MessagePack.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace

from mlxd.generate_request import GenerateRequest
from mlxd.messages import DaemonMessage, EngineMessage, Generate, Message

MAX_FRAME_BYTES = 256 * 1024 * 1024
_LENGTH_BYTES = 4


class Repeat(Message, frozen=True, tag=True):
    """Start a sequence like that of the message before in the frame, but for the seed."""

    id: int
    seed: int | None


_encoder = msgspec.msgpack.Encoder()
_decode_daemon_frame = msgspec.msgpack.Decoder(list[DaemonMessage | Repeat]).decode
decode_engine_frame = msgspec.msgpack.Decoder(list[EngineMessage]).decode
"""Decode a frame's payload as the daemon receives it; raises msgspec.DecodeError."""


class FrameTooLarge(ValueError):
    """Messages that make a frame longer than MAX_FRAME_BYTES."""


def encode_frame(messages: Sequence[DaemonMessage | Repeat] | Sequence[EngineMessage]) -> bytes:
    """Encode `messages` as one frame, length prefix included; raises FrameTooLarge."""
    payload = _encoder.encode(messages)
    if len(payload) > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"{len(payload)} bytes are more than {MAX_FRAME_BYTES}")
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload


def generate_messages(
    sequences: Sequence[int], requests: Sequence[GenerateRequest]
) -> list[DaemonMessage | Repeat]:
    """Return what starts `sequences`, for one frame; what they have in common is there once."""
    made: list[DaemonMessage | Repeat] = []
    before: GenerateRequest | None = None
    for sequence, request in zip(sequences, requests, strict=True):
        if before is not None and _differ_in_seed(before, request):
            made.append(Repeat(sequence, request.seed))
        else:
            made.append(Generate(sequence, request))
        before = request
    return made


def _differ_in_seed(one: GenerateRequest, other: GenerateRequest) -> bool:
    names = (name for name in one.__struct_fields__ if name != "seed")
    return all(getattr(one, name) is getattr(other, name) for name in names)


def decode_daemon_frame(payload: bytes) -> list[DaemonMessage]:
    """Decode a frame's payload as the engine receives it; raises msgspec.DecodeError.

    Of what `generate_messages` made, each sequence has its request, with the same prompt.
    """
    whole: list[DaemonMessage] = []
    for message in _decode_daemon_frame(payload):
        if not isinstance(message, Repeat):
            whole.append(message)
        elif whole and isinstance(before := whole[-1], Generate):
            request = replace(before.request, seed=message.seed)
            whole.append(Generate(message.id, request))
    return whole


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
