"""`python -m mlxd.engine` as a process, and the messages on its socket."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxd.generate_request import GenerateRequest, Sampling, TextPrompt, TokensPrompt
from mlxd.messages import (
    PROTOCOL_VERSION,
    Abort,
    Budget,
    Delta,
    EngineMessage,
    Fatal,
    Finished,
    Generate,
    Hello,
    Load,
    LoadProgress,
    Ping,
    Pong,
    PrefillProgress,
    Queued,
    Ready,
    Shutdown,
    Started,
    Warm,
)
from tests.support.engine_process import DEADLINE, Engine, endless, engine_process

pytestmark = pytest.mark.slow

EMPTY_SAFETENSORS = (2).to_bytes(8, "little") + b"{}"


@pytest.fixture
def ready(tiny_model: Path) -> Iterator[Engine]:
    with engine_process() as engine:
        engine.send(Load(str(tiny_model)))
        engine.receive_until(Ready)
        yield engine


def test_the_handshake_is_hello_warm_progress_ready(tiny_model: Path) -> None:
    with engine_process() as engine:
        engine.send(Load(str(tiny_model)))
        messages = [engine.receive()]
        while not isinstance(messages[-1], Ready):
            messages.append(engine.receive())
    hello, warm, *progress, ready = messages
    assert hello == Hello(PROTOCOL_VERSION, engine.process.pid)
    assert isinstance(warm, Warm)
    fractions = [message.fraction for message in progress if isinstance(message, LoadProgress)]
    assert len(fractions) == len(progress)
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < fractions[-1] == 1
    assert isinstance(ready, Ready)
    assert ready.context_length == 4096
    assert ready.memory_bytes > warm.memory_bytes
    assert ready.device_memory_bytes >= 0


def test_an_engine_that_waits_for_its_model_reports_its_memory(tiny_model: Path) -> None:
    with engine_process() as engine:
        warm = engine.receive_until(Warm)
        engine.send(Ping())
        assert engine.receive_until(Pong).memory_bytes >= warm.memory_bytes / 2
        engine.send(Load(str(tiny_model)), Ping())
        assert engine.receive_until(Ready).context_length == 4096
        assert isinstance(engine.receive(), Pong)


def test_a_budget_is_answered_with_what_fits(tiny_model: Path) -> None:
    with engine_process() as engine:
        engine.send(Load(str(tiny_model)))
        base = engine.receive_until(Ready).memory_bytes
        engine.send(Budget(base + 1_000_000_000), Budget(1), Budget(0))
        told = [engine.receive_until(Pong) for _ in range(3)]
        assert [pong.context_fits for pong in told] == [4096, 1024, None]
        assert told[0].batched


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_engine_that_waits_uses_no_processor_time() -> None:
    with engine_process() as engine:
        engine.send(Ping())
        engine.receive_until(Pong)
        before = engine.wakeups()
        time.sleep(1)
        assert engine.wakeups() - before < 5  # it may have been on its way to sleep


def test_with_too_few_open_files_an_engine_says_what_to_do() -> None:
    with engine_process(open_files=256) as engine:
        fatal = engine.receive_until(Fatal)
        assert "needs a hard limit of 4096 open files, and here it is 256" in fatal.message
        assert engine.process.wait(DEADLINE) == 0


def test_shutdown_ends_an_engine_that_waits() -> None:
    with engine_process() as engine:
        engine.receive_until(Warm)
        engine.send(Shutdown())
        assert engine.process.wait(DEADLINE) == 0


def test_a_ping_is_answered_between_the_steps_of_a_long_prompt(tiny_model: Path) -> None:
    with engine_process() as engine:
        engine.send(Load(str(tiny_model), prefill_step_size=256))
        engine.receive_until(Ready)
        engine.send(Generate(1, GenerateRequest(TokensPrompt([65] * 4000), 1, Sampling())))
        order: list[type[EngineMessage]] = []
        while Delta not in order:
            message = engine.receive()
            order.append(type(message))
            if isinstance(message, Started | PrefillProgress):
                engine.send(Ping())
        assert order.count(PrefillProgress) == 16
        assert order.count(Pong) >= 15


def test_started_is_sent_before_the_first_step(ready: Engine) -> None:
    ready.send(Generate(1, GenerateRequest(TokensPrompt([65] * 4000), 1, Sampling())), Ping())
    told = ready.receive_frame()
    assert [type(message) for message in told] in ([Started], [Started, Pong])


def test_requests_that_come_together_do_not_hold_up_an_answer(ready: Engine) -> None:
    ready.send(endless(1))
    ready.receive_until(Delta)
    prompts = [
        GenerateRequest(TextPrompt(f"{n} " + "x " * 1900), 1, Sampling()) for n in range(128)
    ]
    ready.send(*(Generate(n, prompt) for n, prompt in enumerate(prompts, 2)))
    frames = [ready.receive_frame()]
    while not any(isinstance(each, Queued) and each.place > 50 for each in frames[-1]):
        frames.append(ready.receive_frame())
    written = [each for frame in frames for each in frame if isinstance(each, Delta)]
    assert sum(each.id == 1 for each in written) > 2


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
def test_loading_an_invalid_folder_is_fatal_and_says_why(
    tmp_path: Path, config: str | None, reason: str
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").write_bytes(EMPTY_SAFETENSORS)
    with engine_process() as engine:
        engine.send(Load(str(tmp_path)))
        fatal = engine.receive_until(Fatal)
        assert reason in fatal.message
        assert "\n" not in fatal.message
        engine.process.wait(DEADLINE)
