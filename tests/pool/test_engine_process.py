"""How engines start and end, as the daemon sees it; the engines are tests/fakes/engine.py."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mlxd.errors import EngineDied, LoadFailed
from mlxd.frames import encode_frame
from mlxd.messages import PROTOCOL_VERSION, Load, Ready
from mlxd.pool.engine_process import EngineCrashed, EngineProcess
from tests.support.pool import (
    DEADLINE,
    collect,
    fake_command,
    running_engine,
    start_engine,
    text,
)


async def test_load_reports_its_progress() -> None:
    progress: list[float] = []
    engine = await start_engine("fake", Load("/m"), progress.append, fake_command(""))
    assert progress == [0.5]
    await engine.stop()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "wrong-protocol",
            f"the engine speaks protocol 99, the daemon {PROTOCOL_VERSION}: restart the daemon",
        ),
        ("garbage", "the engine sent a message that cannot be read"),
        ("unloadable", "no safetensors found"),
    ],
)
async def test_a_start_that_goes_wrong_says_why(script: str, reason: str) -> None:
    with pytest.raises(LoadFailed, match=f"fake cannot be loaded: {reason}"):
        async with running_engine(script):
            pass


async def test_a_spare_engine_that_speaks_another_protocol_cannot_load() -> None:
    engine = await EngineProcess.spawn(fake_command("wrong-protocol"))
    exit_ = await engine.exited
    assert exit_.explained
    with pytest.raises(LoadFailed, match="the engine speaks protocol 99"):
        await engine.load("fake", Load("/m"), lambda _: None)


async def test_a_command_that_does_not_exist_is_a_failed_load() -> None:
    with pytest.raises(LoadFailed, match="cannot start an engine process"):
        await start_engine("fake", Load("/m"), lambda _: None, ("/nonexistent/engine",))


async def test_an_engine_that_dies_in_the_load_has_crashed(tmp_path: Path) -> None:
    engine = await EngineProcess.spawn(fake_command(f"die-in-load-once={tmp_path / 'died'}"))
    with pytest.raises(EngineCrashed, match=r"fake cannot be loaded: .* was killed by SIGKILL"):
        await engine.load("fake", Load("/m"), lambda _: None)
    assert engine.exited.done()


async def test_a_cancelled_load_leaves_no_process() -> None:
    engine = await EngineProcess.spawn(fake_command("hang-on-load"))
    half_loaded = asyncio.Event()
    load = asyncio.create_task(engine.load("fake", Load("/m"), lambda _: half_loaded.set()))
    await half_loaded.wait()
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load
    assert engine.exited.done()
    with pytest.raises(ChildProcessError):
        os.waitpid(engine.pid, os.WNOHANG)


async def test_a_load_that_is_done_as_it_is_cancelled_leaves_no_process() -> None:
    engine = await EngineProcess.spawn(fake_command("hang-on-load"))
    half_loaded = asyncio.Event()
    load = asyncio.create_task(engine.load("fake", Load("/m"), lambda _: half_loaded.set()))
    await half_loaded.wait()
    load.cancel()
    engine.link.data_received(encode_frame([Ready(128, 1000)]))
    with pytest.raises(asyncio.CancelledError):
        await load
    assert engine.exited.done()


async def test_a_cancelled_spawn_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[asyncio.subprocess.Process] = []
    connecting = asyncio.Event()
    start = asyncio.create_subprocess_exec

    async def start_and_note(*args: Any, **options: Any) -> asyncio.subprocess.Process:
        processes.append(await start(*args, **options))
        return processes[-1]

    async def never_connect(*_: object, **__: object) -> None:
        connecting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start_and_note)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_unix_connection", never_connect)
    spawning = asyncio.create_task(EngineProcess.spawn(fake_command("")))
    await connecting.wait()
    spawning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await spawning
    assert [process.returncode for process in processes] == [-signal.SIGKILL]


async def test_the_end_of_an_engine_fails_every_open_request() -> None:
    async with running_engine("endless") as engine:
        requests = [engine.link.generate(text("la")) for _ in range(4)]
        os.kill(engine.pid, signal.SIGKILL)
        for result in await asyncio.gather(*map(collect, requests), return_exceptions=True):
            assert isinstance(result, EngineDied)
            assert result.message == "the engine process was killed by SIGKILL"
        with pytest.raises(EngineDied, match="SIGKILL"):
            engine.link.generate(text("too late"))


@pytest.mark.parametrize(
    ("script", "reason", "explained"),
    [
        ("fatal", "the GPU is gone", True),
        ("garbage-later", "the engine sent a message that cannot be read", True),
        ("die-after=0", "the engine process was killed by SIGKILL", False),
    ],
)
async def test_a_request_that_loses_its_engine_says_what_ended_it(
    script: str, reason: str, explained: bool
) -> None:
    async with running_engine(script) as engine:
        with pytest.raises(EngineDied, match=reason) as caught:
            await collect(engine.link.generate(text("la")))
        exit_ = await engine.exited
        assert (exit_.cause, exit_.explained) == (caught.value.message, explained)
        assert not engine.link.alive


async def test_the_end_of_an_engine_is_noticed_though_a_child_of_it_lives_on() -> None:
    async with running_engine("leaves-a-child") as engine:
        try:
            with pytest.raises(EngineDied, match="SIGKILL"):
                await collect(engine.link.generate(text("la")))
            with pytest.raises(EngineDied, match="SIGKILL"):
                engine.link.generate(text("too late"))
            await engine.link.closed
        finally:
            os.killpg(engine.pid, signal.SIGKILL)


async def test_output_that_comes_just_after_the_end_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlxd.pool.engine_process._LAST_WORDS_SECONDS", DEADLINE)
    async with running_engine("leaves-last-words") as engine:
        with pytest.raises(EngineDied, match="SIGKILL"):
            await collect(engine.link.generate(text("la")))
        assert (await engine.exited).output == ["the last words"]


async def test_a_stop_lets_the_engine_end_by_itself() -> None:
    async with running_engine("last-words=bye") as engine:
        await engine.stop(grace=DEADLINE)
        exit_ = await engine.exited
        assert (exit_.cause, exit_.output) == ("the engine was stopped", ["bye"])


@pytest.mark.parametrize("grace", [0, 0.05])
async def test_a_stop_kills_an_engine_that_does_not_end_by_itself(
    monkeypatch: pytest.MonkeyPatch, grace: float
) -> None:
    monkeypatch.setattr("mlxd.pool.engine_link.STOP_GRACE", DEADLINE)
    async with running_engine("stubborn,endless") as engine:
        request = engine.link.generate(text("la"))
        await request.next_events()
        await engine.stop(grace)
        assert engine.exited.done()
        with pytest.raises(EngineDied, match="the engine was stopped"):
            await collect(request)
        await engine.stop()


async def test_what_an_engine_prints_is_logged_and_part_of_its_crash(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    with pytest.raises(EngineCrashed, match="exited with status 3") as raised:
        async with running_engine("die-before-hello"):
            pass
    (line,) = (message for message in caplog.messages if message.startswith("fake["))
    assert line.endswith("]: cannot breathe")
    assert raised.value.end.output == ["cannot breathe"]


async def test_all_output_is_read_even_after_a_line_that_is_too_long() -> None:
    with pytest.raises(EngineCrashed) as raised:
        async with running_engine("prints-long,die-before-hello"):
            pass
    assert raised.value.end.output[-2:] == ["and another", "cannot breathe"]


async def test_a_process_that_cannot_be_killed_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As one that waits for a network volume that hangs."""
    monkeypatch.setattr("mlxd.pool.engine_process._END_SECONDS", 0.05)
    engine = await start_engine("fake", Load("/m"), lambda _: None, fake_command("stubborn"))
    with monkeypatch.context() as patched:
        patched.setattr(engine._process, "kill", lambda: None)
        async with asyncio.timeout(DEADLINE):
            await engine.stop(grace=0)
    assert "does not end, though it was killed" in caplog.text
    os.kill(engine.pid, signal.SIGKILL)
    await engine._process.wait()
