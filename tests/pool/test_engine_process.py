"""An engine process as the daemon sees it; the engine is tests/fakes/engine.py."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mlxd.errors import EngineDied, InvalidRequest, LoadFailed
from mlxd.messages import (
    PROTOCOL_VERSION,
    ChatPrompt,
    ChoiceEvent,
    Delta,
    Event,
    Finished,
    GenerateRequest,
    Load,
    Sampling,
    Started,
)
from mlxd.pool import engine_process
from mlxd.pool.crashes import EngineCrashed
from mlxd.pool.engine_process import EngineProcess, EngineRequest
from mlxd.pool.spawn import Spawned, spawn
from tests.support.pool import fake_command, start_engine, text, until

DEADLINE = 20


@asynccontextmanager
async def running(script: str = "") -> AsyncIterator[EngineProcess]:
    async with asyncio.timeout(DEADLINE):
        engine = await start_engine(
            "fake", Load("/models/fake"), lambda _: None, fake_command(script)
        )
        try:
            yield engine
        finally:
            await engine.stop()


async def collect(generation: EngineRequest) -> list[Event]:
    return [event for _, event in await collect_choices(generation)]


async def collect_choices(generation: EngineRequest) -> list[ChoiceEvent]:
    events: list[ChoiceEvent] = []
    while new := await generation.next_events():
        events += new
    return events


async def test_an_answer_begins_with_started_and_ends_with_finished() -> None:
    async with running() as engine:
        events = await collect(engine.generate(text("one two")))
        assert [type(event) for event in events] == [Started, Delta, Delta, Finished]


async def test_the_choices_of_a_request_come_as_one_generation() -> None:
    async with running() as engine:
        events = await collect_choices(engine.generate(text("one two", "three", "four")))
        for index, words in enumerate((["one", "two"], ["three"], ["four"])):
            mine = [event for number, event in events if number == index]
            assert [type(event) for event in mine] == [Started, *[Delta] * len(words), Finished]
            assert [event.text for event in mine if isinstance(event, Delta)] == words
        assert engine.requests == 0


async def test_a_choice_that_fails_ends_the_others() -> None:
    async with running("endless") as engine:
        bad = GenerateRequest(ChatPrompt([]), 10, Sampling())
        generation = engine.generate([*text("la"), bad, *text("la")])
        ends: list[None] = []
        generation.on_end = lambda: ends.append(None)
        with pytest.raises(InvalidRequest):
            await collect(generation)
        while engine.requests:
            await engine.ping(DEADLINE)
        assert ends == [None]


async def test_requests_share_one_socket_and_keep_apart() -> None:
    async with running() as engine:
        answers = [engine.generate(text(f"a{i} b{i}")) for i in range(20)]
        for i, events in enumerate(await asyncio.gather(*map(collect, answers))):
            assert [e.text for e in events if isinstance(e, Delta)] == [f"a{i}", f"b{i}"]
        assert engine.requests == 0


async def test_load_reports_progress_and_what_the_engine_says_of_itself() -> None:
    progress: list[float] = []
    engine = await start_engine("fake", Load("/m"), progress.append, fake_command(""))
    assert progress == [0.5]
    assert (engine.context_length, engine.memory_bytes) == (128, 1000)
    await engine.stop()


async def test_a_refused_request_says_which_field_is_at_fault() -> None:
    async with running() as engine:
        refused = engine.generate([GenerateRequest(ChatPrompt([]), 10, Sampling())])
        with pytest.raises(InvalidRequest) as caught:
            await collect(refused)
        assert caught.value.param == "messages"


async def test_close_aborts_once_and_the_terminal_message_still_comes() -> None:
    async with running("endless") as engine:
        generation = engine.generate(text("la"))
        while not any(isinstance(event, Delta) for _, event in await generation.next_events()):
            pass
        generation.close()
        generation.close()
        assert await collect(generation) in ([], [Delta(1, "la")])
        while engine.requests:
            await engine.ping(DEADLINE)


async def test_the_end_of_an_engine_fails_every_open_request() -> None:
    async with running("endless") as engine:
        answers = [engine.generate(text("la")) for _ in range(4)]
        os.kill(engine.pid, signal.SIGKILL)
        for result in await asyncio.gather(*map(collect, answers), return_exceptions=True):
            assert isinstance(result, EngineDied)
            assert result.message == "the engine process was killed by SIGKILL"
        with pytest.raises(EngineDied):
            engine.generate(text("too late"))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("fatal", "the GPU is gone"),
        ("garbage-later", "it sent what the daemon cannot read"),
        ("die-after=0", "the engine process was killed by SIGKILL"),
    ],
)
async def test_a_request_that_loses_its_engine_says_what_ended_it(script: str, reason: str) -> None:
    async with running(script) as engine:
        with pytest.raises(EngineDied, match=reason) as caught:
            await collect(engine.generate(text("la")))
        await asyncio.wait([engine.exited])
        assert engine.crash().cause == caught.value.message
        assert not engine.connected


async def test_an_engine_that_hangs_up_is_refused_at_once_and_killed_after_a_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_process, "_STOP_GRACE", 0.2)
    async with running("hang-up") as engine:
        request = engine.generate(text("la"))
        await until(lambda: not engine.connected)
        assert not engine.exited.done()
        with pytest.raises(EngineDied, match="has closed its socket"):
            engine.generate(text("too late"))
        with pytest.raises(EngineDied, match="has closed its socket"):
            await engine.ping(DEADLINE)
        with pytest.raises(EngineDied):
            await collect(request)


async def test_a_stop_lets_the_engine_end_by_itself() -> None:
    async with running("last-words=bye") as engine:
        await engine.stop(grace=DEADLINE)
        crash = engine.crash()
        assert (crash.cause, crash.output) == ("the engine was stopped", ["bye"])


@pytest.mark.parametrize("grace", [0, 0.05])
async def test_a_stop_kills_an_engine_that_does_not_end_by_itself(grace: float) -> None:
    async with running("stubborn,endless") as engine:
        request = engine.generate(text("la"))
        await request.next_events()
        await engine.stop(grace)
        assert engine.exited.done()
        with pytest.raises(EngineDied, match="the engine was stopped"):
            await collect(request)
        await engine.stop()


async def test_a_ping_in_flight_fails_when_the_engine_ends() -> None:
    async with running("mute") as engine:
        ping = asyncio.create_task(engine.ping(DEADLINE))
        await asyncio.sleep(0)
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineDied, match="SIGKILL"):
            await ping
        with pytest.raises(EngineDied, match="SIGKILL"):
            await engine.ping(DEADLINE)


async def test_an_aborted_request_is_in_flight_until_the_engine_has_ended_it() -> None:
    async with running("endless,slow-abort") as engine:
        request = engine.generate(text("la"))
        await request.next_events()
        request.close()
        await collect(request)
        assert engine.requests == 1
        await engine.ping(DEADLINE)
        assert engine.requests == 0


async def test_a_line_that_is_too_long_does_not_end_the_output() -> None:
    async with running("prints-long") as engine:
        await engine.stop(grace=DEADLINE)
        assert engine.crash().output[-1] == "and another"


async def test_an_engine_that_dies_in_the_load_has_crashed(tmp_path: Path) -> None:
    engine = await EngineProcess.spawn(fake_command(f"die-in-load-once={tmp_path / 'died'}"))
    with pytest.raises(EngineCrashed, match=r"fake cannot be loaded: .* was killed by SIGKILL"):
        await engine.load("fake", Load("/m"), lambda _: None)
    assert engine.exited.done()


async def test_figures_are_asked_for_once_a_second_and_told_when_they_come() -> None:
    async with running("grows=7777") as engine:
        told = asyncio.Event()
        engine.on_figures = told.set
        engine.refresh()
        await told.wait()
        assert engine.memory_bytes == 7777
        told.clear()
        engine.refresh()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await told.wait()


async def test_check_passes_when_the_loop_turns_and_ping_refreshes_the_memory() -> None:
    async with running() as engine:
        await engine.check()
        assert engine.memory_bytes == 4242


async def test_an_engine_that_has_ended_passes_the_check_as_it_will_be_replaced() -> None:
    async with running() as engine:
        os.kill(engine.pid, signal.SIGKILL)
        await engine.check()
        await engine.exited
        await engine.check()


async def test_a_mute_engine_does_not_pass_a_ping() -> None:
    async with running("mute") as engine:
        with pytest.raises(TimeoutError):
            await engine.ping(0.05)


async def test_the_end_of_an_engine_is_noticed_though_a_child_of_it_lives_on() -> None:
    async with running("leaves-a-child") as engine:
        try:
            with pytest.raises(EngineDied, match="SIGKILL"):
                await collect(engine.generate(text("la")))
        finally:
            os.killpg(engine.pid, signal.SIGKILL)


async def test_what_an_engine_prints_is_logged_and_part_of_its_crash(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    with pytest.raises(EngineCrashed, match="exited with status 3") as raised:
        async with running("die-before-hello"):
            pass
    (line,) = (message for message in caplog.messages if message.startswith("fake["))
    assert line.endswith("]: cannot breathe")
    assert raised.value.crash.output == ["cannot breathe"]


async def is_healthy(engine: EngineProcess) -> bool:
    try:
        await engine.check()
    except EngineDied:
        return False
    return True


@pytest.mark.parametrize("busy", [False, True])
async def test_an_engine_that_hangs_does_not_pass_the_check_for_long(
    monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    monkeypatch.setattr(engine_process, "_PING_SECONDS", 0.1)
    monkeypatch.setattr(engine_process, "_BUSY_SECONDS", 0.2)
    async with running("endless") as engine:
        generation = engine.generate(text("la")) if busy else None
        if generation is not None:
            await generation.next_events()
        assert await is_healthy(engine)
        os.kill(engine.pid, signal.SIGSTOP)
        try:
            while await is_healthy(engine):
                await asyncio.sleep(0.01)
        finally:
            os.kill(engine.pid, signal.SIGCONT)
        while not await is_healthy(engine):
            await asyncio.sleep(0.01)


async def test_an_engine_that_was_idle_for_long_has_time_for_its_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_process, "_PING_SECONDS", 0.01)
    monkeypatch.setattr(engine_process, "_BUSY_SECONDS", 0.2)
    async with running("mute") as engine:
        assert not await is_healthy(engine)
        await asyncio.sleep(engine_process._BUSY_SECONDS)
        os.kill(engine.pid, signal.SIGSTOP)  # as in the middle of a long step
        try:
            engine.generate(text("la"))
            assert await is_healthy(engine)
        finally:
            os.kill(engine.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "wrong-protocol",
            f"it speaks protocol 99, the daemon {PROTOCOL_VERSION}: restart the daemon",
        ),
        ("garbage", "it sent what the daemon cannot read"),
        ("unloadable", "no safetensors found"),
    ],
)
async def test_a_start_that_goes_wrong_says_why(script: str, reason: str) -> None:
    with pytest.raises(LoadFailed, match=reason):
        async with running(script):
            pass


async def test_a_command_that_does_not_exist_is_a_failed_load() -> None:
    with pytest.raises(LoadFailed, match="no engine process can be started"):
        await start_engine("fake", Load("/m"), lambda _: None, ("/nonexistent/engine",))


async def test_a_cancelled_start_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    spawned: list[Spawned] = []

    async def spawn_and_note(command: Sequence[str]) -> Spawned:
        spawned.append(await spawn(command))
        return spawned[-1]

    monkeypatch.setattr(engine_process, "spawn", spawn_and_note)
    loaded_half = asyncio.Event()
    start = asyncio.create_task(
        start_engine("fake", Load("/m"), lambda _: loaded_half.set(), fake_command("hang-on-load"))
    )
    await loaded_half.wait()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    (engine,) = spawned
    with pytest.raises(ChildProcessError):
        os.waitpid(engine.process.pid, os.WNOHANG)
