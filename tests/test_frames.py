"""The frames between daemon and engine."""

import msgspec
import pytest
from msgspec.structs import replace

from mlxd.frames import (
    MAX_FRAME_BYTES,
    FrameSplitter,
    FrameTooLarge,
    decode_daemon_frame,
    decode_engine_frame,
    encode_frame,
    generate_messages,
)
from mlxd.generate_request import ChatPrompt, GenerateRequest, Sampling, TextPrompt
from mlxd.messages import Abort, Delta, Finished, Generate, Hello, Load, Usage

EVENTS = [
    Delta(1, "Par"),
    Delta(2, "\N{SNOWMAN}"),
    Finished(1, "stop", Usage(prompt_tokens=5, cached_tokens=3, completion_tokens=2)),
]


def test_one_frame_carries_the_events_of_every_sequence() -> None:
    (payload,) = FrameSplitter().feed(encode_frame(EVENTS))
    assert decode_engine_frame(payload) == EVENTS


def test_a_request_is_decoded_as_it_was_encoded() -> None:
    request = GenerateRequest(
        prompt=ChatPrompt([{"role": "user", "content": "hi"}]),
        max_tokens=None,
        sampling=Sampling(temperature=0.7, top_p=0.9, top_k=40, min_p=0.05),
        stop=["\n\n"],
        seed=-(2**63),
    )
    (payload,) = FrameSplitter().feed(encode_frame([Generate(7, request), Abort(7)]))
    assert decode_daemon_frame(payload) == [Generate(7, request), Abort(7)]


def test_what_choices_have_in_common_is_sent_once() -> None:
    first = GenerateRequest(TextPrompt("x" * 100_000), None, Sampling(), seed=1)
    requests = [first, *(replace(first, seed=seed) for seed in (2, 3))]
    requests.append(replace(first, prompt=TextPrompt("other")))
    frame = encode_frame(generate_messages(range(5, 9), requests))
    assert len(frame) < 110_000
    (payload,) = FrameSplitter().feed(frame)
    decoded = decode_daemon_frame(payload)
    assert decoded == [Generate(5 + n, request) for n, request in enumerate(requests)]
    assert decoded[2].request.prompt is decoded[0].request.prompt


def test_a_frame_that_no_engine_would_read_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxd.frames.MAX_FRAME_BYTES", 10)
    with pytest.raises(FrameTooLarge):
        encode_frame([Delta(1, "x" * 20)])


def test_frames_come_out_whole_however_the_bytes_arrive() -> None:
    stream = b"".join(encode_frame([event]) for event in EVENTS)
    splitter = FrameSplitter()
    payloads = [payload for byte in stream for payload in splitter.feed(bytes([byte]))]
    assert [decode_engine_frame(payload) for payload in payloads] == [[event] for event in EVENTS]


def test_a_frame_that_is_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(ValueError, match="over the limit"):
        list(FrameSplitter().feed((MAX_FRAME_BYTES + 1).to_bytes(4, "big")))


@pytest.mark.parametrize("payload", [b"", b"\xc1", msgspec.msgpack.encode([["Nonsense", 1]])])
def test_what_is_not_a_message_is_refused(payload: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_engine_frame(payload)


def test_each_side_accepts_only_the_messages_of_the_other() -> None:
    (from_engine,) = FrameSplitter().feed(encode_frame([Hello(1, 2)]))
    (from_daemon,) = FrameSplitter().feed(encode_frame([Load("/models/a")]))
    with pytest.raises(msgspec.ValidationError):
        decode_daemon_frame(from_engine)
    with pytest.raises(msgspec.ValidationError):
        decode_engine_frame(from_daemon)
