"""The engine's end of the socket: a thread that reads, a queue, and one way to send."""

import os
import socket
import threading
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

import msgspec

from mlxd.frames import FrameSplitter, decode_daemon_frame, encode_frame
from mlxd.messages import DaemonMessage, EngineMessage, Failed

_READ_BYTES = 256 * 1024

Local = TypeVar("Local")
"""What the threads of this process send each other."""


_ENCODING_ERRORS = (TypeError, ValueError, OverflowError)


class Channel(Generic[Local]):
    """Messages from and to the daemon, and from other threads of the engine to the one that steps.

    The process exits as soon as the daemon closes its end, whatever the other threads are doing:
    an engine never outlives its daemon, not even during a long prefill.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._incoming: SimpleQueue[DaemonMessage | Local] = SimpleQueue()
        threading.Thread(target=self._read, name="daemon-reader", daemon=True).start()

    def put(self, message: Local) -> None:
        """Queue a message of this process among those of the daemon."""
        self._incoming.put(message)

    def receive(self) -> DaemonMessage | Local:
        """Return the next message."""
        return self._incoming.get()

    def receive_all(
        self, *, wait: bool, seconds: float | None = None
    ) -> list[DaemonMessage | Local]:
        """Return every message received; with `wait`, sleep until there is one.

        With `seconds`, sleep for so long at most.
        """
        messages: list[DaemonMessage | Local] = []
        try:
            if wait:
                messages.append(self._incoming.get(timeout=seconds))
            while True:
                messages.append(self._incoming.get_nowait())
        except Empty:
            return messages

    def send(self, messages: list[EngineMessage]) -> list[int]:
        """Send `messages` as one frame, and return the ids of sequences that failed by that.

        An event that cannot be encoded, as text with half a character, becomes `Failed`, and the
        later ones of its sequence are left out.
        """
        failed: list[int] = []
        try:
            frame = encode_frame(messages)
        except _ENCODING_ERRORS:
            messages, failed = _encodable(messages)
            frame = encode_frame(messages)
        try:
            self._connection.sendall(frame)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)
        return failed

    def _read(self) -> None:
        status = 1
        try:
            self._take_messages()
            status = 0
        except ConnectionResetError:
            status = 0  # it ended with messages of ours unread
        except (OSError, ValueError, msgspec.DecodeError) as error:
            print(f"the daemon's messages cannot be read: {error}", flush=True)  # noqa: T201
        finally:
            # Even if printing failed because nothing reads it.
            os._exit(status)

    def _take_messages(self) -> None:
        """Queue the messages of the daemon until it closes its end."""
        splitter = FrameSplitter()
        while data := self._connection.recv(_READ_BYTES):
            for payload in splitter.feed(data):
                for message in decode_daemon_frame(payload):
                    self._incoming.put(message)


def _encodable(messages: list[EngineMessage]) -> tuple[list[EngineMessage], list[int]]:
    """Return what can be sent of some messages, and the ids of the sequences that fail."""
    kept: list[EngineMessage] = []
    failed: list[int] = []
    for message in messages:
        sequence = getattr(message, "id", None)
        if sequence in failed:
            continue
        try:
            encode_frame([message])
        except _ENCODING_ERRORS as error:
            if sequence is None:
                raise
            failed.append(sequence)
            reason = f"a part of the answer cannot be sent: {type(error).__name__}"
            message = Failed(sequence, "generation_failed", reason)
        kept.append(message)
    return kept, failed
