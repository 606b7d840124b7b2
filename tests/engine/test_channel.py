"""What an engine sends: events that cannot be encoded fail their sequence alone."""

import socket
import threading
from collections.abc import Iterator

import pytest

from mlxd.engine.channel import Channel
from mlxd.frames import FrameSplitter, decode_engine_frame
from mlxd.messages import Delta, EngineMessage, Failed, Finished, Pong, ToolCall, Usage

END = Usage(1, 0, 1)


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Channel[object], socket.socket]]:
    """Return a channel and the daemon's end of its socket."""
    monkeypatch.setattr("mlxd.engine.channel.os._exit", lambda _status: None)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), theirs
        theirs.shutdown(socket.SHUT_RDWR)
        for thread in threading.enumerate():
            if thread.name == "daemon-reader":
                thread.join(5)


def received(theirs: socket.socket) -> list[EngineMessage]:
    return [m for p in FrameSplitter().feed(theirs.recv(65536)) for m in decode_engine_frame(p)]


def test_an_event_with_half_a_character_fails_its_sequence_and_no_other(
    connected: tuple[Channel[object], socket.socket],
) -> None:
    channel, theirs = connected
    failed = channel.send(
        [
            Delta(1, "a"),
            ToolCall(2, "f", '{"a": "\ud83d"}'),
            Finished(2, "tool_calls", END),
            Delta(3, "b"),
            Pong(1),
        ]
    )
    assert failed == [2]
    reason = "a part of the answer cannot be sent: UnicodeEncodeError"
    assert received(theirs) == [
        Delta(1, "a"),
        Failed(2, "generation_failed", reason),
        Delta(3, "b"),
        Pong(1),
    ]
    assert channel.send([Delta(1, "c")]) == []
    assert received(theirs) == [Delta(1, "c")]
