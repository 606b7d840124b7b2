"""`python -m mlxd.engine` as a process, spoken to over its socket."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlxd.messages import (
    PROTOCOL_VERSION,
    Abort,
    DaemonMessage,
    Delta,
    EngineMessage,
    Fatal,
    Finished,
    FrameSplitter,
    Generate,
    GenerateRequest,
    Hello,
    Load,
    LoadProgress,
    Ping,
    Pong,
    Ready,
    Sampling,
    Shutdown,
    TextPrompt,
    decode_engine_frame,
    encode_frame,
)

DEADLINE = 30
EMPTY_SAFETENSORS = (2).to_bytes(8, "little") + b"{}"


class Engine:
    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        self.process = process
        self.connection = connection
        self._splitter = FrameSplitter()
        self._messages: list[EngineMessage] = []

    def send(self, *messages: DaemonMessage) -> None:
        self.connection.sendall(encode_frame(list(messages)))

    def receive(self) -> EngineMessage:
        while not self._messages:
            data = self.connection.recv(65536)
            assert data, "the engine closed its end"
            for payload in self._splitter.feed(data):
                self._messages += decode_engine_frame(payload)
        return self._messages.pop(0)

    def receive_until(self, kind: type[EngineMessage]) -> EngineMessage:
        while not isinstance(message := self.receive(), kind):
            pass
        return message


@contextmanager
def engine_process() -> Iterator[Engine]:
    ours, theirs = socket.socketpair()
    ours.settimeout(DEADLINE)
    process = subprocess.Popen([sys.executable, "-P", "-m", "mlxd.engine"], stdin=theirs)
    theirs.close()
    with ours, process:
        try:
            yield Engine(process, ours)
        finally:
            process.kill()


@pytest.fixture
def ready(tiny_model: Path) -> Iterator[Engine]:
    with engine_process() as engine:
        engine.send(Load(str(tiny_model)))
        engine.receive_until(Ready)
        yield engine


def endless(request_id: int) -> Generate:
    return Generate(request_id, GenerateRequest(TextPrompt("go"), None, Sampling()))


def test_the_handshake_is_hello_progress_ready(tiny_model: Path) -> None:
    with engine_process() as engine:
        hello = engine.receive()
        assert hello == Hello(PROTOCOL_VERSION, engine.process.pid)
        engine.send(Load(str(tiny_model)))
        assert engine.receive() == LoadProgress(1.0)
        ready = engine.receive()
        assert isinstance(ready, Ready)
        assert ready.context_length == 4096
        assert ready.memory_bytes > 0


def test_every_generate_gets_exactly_one_terminal_message(ready: Engine) -> None:
    ready.send(endless(1), endless(2))
    ready.receive_until(Delta)
    ready.send(Abort(1), Abort(1), Abort(99), Abort(2), Ping())
    terminal: list[EngineMessage] = []
    while not isinstance(message := ready.receive(), Pong):
        if isinstance(message, Finished):
            terminal.append(message)
    assert [(m.id, m.reason) for m in terminal if isinstance(m, Finished)] == [
        (1, "abort"),
        (2, "abort"),
    ]


def test_shutdown_ends_the_process(ready: Engine) -> None:
    ready.send(endless(1), Shutdown())
    assert ready.process.wait(DEADLINE) == 0


def test_end_of_file_ends_the_process_in_the_middle_of_its_work(ready: Engine) -> None:
    ready.send(endless(1))
    ready.receive_until(Delta)
    ready.connection.close()
    assert ready.process.wait(DEADLINE) == 0


def test_sigterm_ends_the_process_in_the_middle_of_its_work(ready: Engine) -> None:
    ready.send(endless(1))
    ready.receive_until(Delta)
    ready.process.terminate()
    assert ready.process.wait(DEADLINE) == -15


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{}", "model_type"),
        ('{"model_type": "no-such-architecture"}', "no-such-architecture"),
        ("not json", "Expecting value"),
        (None, "config.json"),
    ],
)
def test_a_folder_that_is_no_model_is_fatal_and_says_why(
    tmp_path: Path, config: str | None, reason: str
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").write_bytes(EMPTY_SAFETENSORS)
    with engine_process() as engine:
        engine.send(Load(str(tmp_path)))
        fatal = engine.receive_until(Fatal)
        assert isinstance(fatal, Fatal)
        assert reason in fatal.message
        assert "\n" not in fatal.message
        engine.process.wait(DEADLINE)
