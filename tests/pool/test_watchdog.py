"""Engines that hang are killed, and those that only take long are not."""

import asyncio
import os
import signal
from dataclasses import dataclass, field

import pytest

from mlxd.config import Config, EngineConfig
from mlxd.errors import EngineDied
from mlxd.messages import Delta, Load, PrefillProgress, Started
from mlxd.pool import watchdog
from mlxd.pool.engine_link import EngineLink
from mlxd.pool.engine_process import EngineProcess
from mlxd.pool.watchdog import PendingPrompts, Watchdog, check
from tests.support.pool import collect, fake_command, running_engine, text

TIMEOUT = 0.2


@dataclass
class Silent:
    """An engine that says nothing; `answers` is whether it answers a ping."""

    answers: bool = False
    heard_at: float = 0.0
    loading: bool = False
    requests: int = 1
    name: str = "silent"
    prompts: PendingPrompts = field(default_factory=lambda: PendingPrompts(0))
    killed: asyncio.Event = field(default_factory=asyncio.Event)
    cause: str = ""

    async def ping(self, seconds: float) -> None:
        if not self.answers:
            await asyncio.sleep(seconds)
            raise TimeoutError
        self.heard_at = asyncio.get_running_loop().time()

    def kill(self, cause: str) -> None:
        self.cause = cause
        self.killed.set()


def reading_a_prompt() -> PendingPrompts:
    """Return what an engine has still to process if that takes it 60 seconds."""
    prompts = PendingPrompts(step_tokens=600)
    prompts.note(Started(1, 600, 0), 0.1)
    return prompts


async def is_killed(engine: Silent, seconds: float) -> bool:
    engine.heard_at = asyncio.get_running_loop().time()
    dog = Watchdog(engine, TIMEOUT, engine.prompts)
    dog.wake()
    try:
        async with asyncio.timeout(seconds):
            await engine.killed.wait()
    except TimeoutError:
        return False
    finally:
        dog.sleep()
    return True


async def test_an_engine_that_has_work_and_is_silent_is_killed() -> None:
    engine = Silent()
    assert await is_killed(engine, 10)
    assert engine.cause == "the engine did not answer for 0 s and was killed"


@pytest.mark.parametrize(
    "engine",
    [
        Silent(requests=0),
        Silent(answers=True),
        Silent(prompts=reading_a_prompt()),
        Silent(loading=True, requests=0),
    ],
    ids=["idle", "answers", "prefill", "loading"],
)
async def test_an_engine_that_may_be_silent_lives_on(engine: Silent) -> None:
    assert not await is_killed(engine, 4 * TIMEOUT)


async def test_a_stopped_process_is_killed_and_its_request_fails() -> None:
    engine = await EngineProcess.spawn(fake_command("endless"))
    await engine.load("fake", Load("/m", hang_timeout=TIMEOUT), lambda _: None)
    request = engine.link.generate(text("la"))
    await request.next_events()
    os.kill(engine.pid, signal.SIGSTOP)
    with pytest.raises(EngineDied, match="did not answer for"):
        await collect(request)
    assert (await engine.exited).cause.endswith("and was killed")


async def test_a_process_that_reads_a_long_prompt_is_not_killed() -> None:
    engine = await EngineProcess.spawn(fake_command("mute,silent"))
    await engine.load("fake", Load("/m", hang_timeout=TIMEOUT), lambda _: None)
    request = engine.link.generate(text("la " * 1000))
    await request.next_events()
    ended, _ = await asyncio.wait([engine.exited], timeout=4 * TIMEOUT)
    assert not ended
    await engine.stop(grace=0)


async def is_healthy(link: EngineLink) -> bool:
    try:
        await check(link)
    except EngineDied:
        return False
    return True


async def test_an_engine_that_has_ended_passes_the_check_as_it_will_be_replaced() -> None:
    async with running_engine() as engine:
        os.kill(engine.pid, signal.SIGKILL)
        await check(engine.link)
        await engine.exited
        await check(engine.link)


@pytest.mark.parametrize("busy", [False, True])
async def test_an_engine_that_hangs_does_not_pass_the_check_for_long(
    monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    monkeypatch.setattr(watchdog, "_PING_SECONDS", 0.1)
    monkeypatch.setattr(watchdog, "_BUSY_SECONDS", 0.2)
    async with running_engine("endless") as engine:
        if busy:
            await engine.link.generate(text("la")).next_events()
        assert await is_healthy(engine.link)
        os.kill(engine.pid, signal.SIGSTOP)
        try:
            while await is_healthy(engine.link):
                await asyncio.sleep(0.01)
        finally:
            os.kill(engine.pid, signal.SIGCONT)
        while not await is_healthy(engine.link):
            await asyncio.sleep(0.01)


async def test_an_engine_that_was_idle_for_long_has_time_for_its_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchdog, "_PING_SECONDS", 0.01)
    async with running_engine("mute") as engine:
        engine.link.heard_at -= watchdog._BUSY_SECONDS
        assert not await is_healthy(engine.link)
        os.kill(engine.pid, signal.SIGSTOP)  # as in the middle of a long step
        try:
            engine.link.generate(text("la"))
            assert await is_healthy(engine.link)
        finally:
            os.kill(engine.pid, signal.SIGCONT)


def test_a_step_gets_time_for_the_prompts_it_processes() -> None:
    prompts = PendingPrompts(step_tokens=2048)
    assert prompts.step_seconds() == 0
    prompts.note(Started(1, 1100, 100), 0.1)
    assert prompts.step_seconds() == 100  # the slowest speed is assumed at first
    prompts.note(Started(2, 5000, 0), 0.1)
    assert prompts.step_seconds() == 204.8  # one step takes at most 2048 tokens
    prompts.note(PrefillProgress(2, 2000, 5000), 10.0)
    assert prompts.step_seconds() == 2048 / (200 / 4)
    prompts.note(Delta(2, "x"), 0.1)
    assert prompts.step_seconds() == 1000 / (200 / 4)
    prompts.note(Delta(1, "x"), 0.1)
    assert prompts.step_seconds() == 0


def test_hangs_are_watched_for_by_default() -> None:
    assert Config().engine == EngineConfig(hang_timeout=30.0)
