"""A real engine process, and the daemon's end of its socket."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mlxd.frames import FrameSplitter, decode_engine_frame, encode_frame
from mlxd.generate_request import GenerateRequest, Sampling, TextPrompt
from mlxd.messages import DaemonMessage, EngineMessage, Generate

DEADLINE = 30
Kind = TypeVar("Kind", bound=EngineMessage)
ENGINE = (sys.executable, "-P", "-m", "mlxd.engine")


class Engine:
    """The process, and our end of its socket."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        self.process = process
        self.connection = connection
        self._splitter = FrameSplitter()
        self._frames: list[list[EngineMessage]] = []

    def send(self, *messages: DaemonMessage) -> None:
        self.connection.sendall(encode_frame(list(messages)))

    def receive_frame(self) -> list[EngineMessage]:
        """Return the messages of the oldest frame that are not received yet."""
        while not self._frames:
            data = self.connection.recv(65536)
            assert data, "the engine closed its end"
            self._frames += map(decode_engine_frame, self._splitter.feed(data))
        return self._frames.pop(0)

    def receive(self) -> EngineMessage:
        first, *rest = self.receive_frame()
        if rest:
            self._frames.insert(0, rest)
        return first

    def receive_until(self, kind: type[Kind]) -> Kind:
        while not isinstance(message := self.receive(), kind):
            pass
        return message

    def wakeups(self) -> int:
        """Return how often its threads have waited for something so far (Linux)."""
        statuses = Path(f"/proc/{self.process.pid}/task").glob("*/status")
        lines = [line for status in statuses for line in status.read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))


@contextmanager
def engine_process(output: socket.socket | None = None, open_files: int = 0) -> Iterator[Engine]:
    """Run an engine that prints to `output`, and may open `open_files`, if those are given."""
    ours, theirs = socket.socketpair()
    ours.settimeout(DEADLINE)
    limit = ("sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh") if open_files else ()
    process = subprocess.Popen([*limit, *ENGINE], stdin=theirs, stdout=output)
    theirs.close()
    with ours, process:
        try:
            yield Engine(process, ours)
        finally:
            process.kill()


def endless(request_id: int) -> Generate:
    return Generate(request_id, GenerateRequest(TextPrompt("go"), None, Sampling()))
