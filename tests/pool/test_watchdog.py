"""Engines that hang are ended, and those that only take long are not."""

import asyncio
import os
import signal
from dataclasses import dataclass, field

import pytest

from mlxd.config import Config, EngineConfig
from mlxd.errors import EngineDied
from mlxd.messages import (
    Delta,
    GenerateRequest,
    Load,
    PrefillProgress,
    Sampling,
    Started,
    TextPrompt,
)
from mlxd.pool.engine_process import EngineProcess
from mlxd.pool.engine_request import EngineRequest
from mlxd.pool.prefill import Prefill
from mlxd.pool.watchdog import Watchdog
from tests.support.pool import fake_command

TIMEOUT = 0.2


@dataclass
class Silent:
    """An engine that says nothing; `answers` is whether it answers a ping."""

    answers: bool = False
    heard_at: float = 0.0
    loading: bool = False
    requests: int = 1
    prefill_seconds: float = 0.0
    rejected: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""

    async def ping(self, seconds: float) -> None:
        if not self.answers:
            await asyncio.sleep(seconds)
            raise TimeoutError
        self.heard_at = asyncio.get_running_loop().time()

    def reject(self, reason: str) -> None:
        self.reason = reason
        self.rejected.set()


async def is_ended(engine: Silent, seconds: float) -> bool:
    engine.heard_at = asyncio.get_running_loop().time()
    watchdog = Watchdog(engine, TIMEOUT)
    watchdog.wake()
    try:
        async with asyncio.timeout(seconds):
            await engine.rejected.wait()
    except TimeoutError:
        return False
    finally:
        watchdog.sleep()
    return True


async def test_silence_ends_an_engine_that_has_work() -> None:
    engine = Silent()
    assert await is_ended(engine, 10)
    assert engine.reason == "the engine has not answered for 0 s, and was ended"


@pytest.mark.parametrize(
    "engine",
    [
        Silent(requests=0),
        Silent(answers=True),
        Silent(prefill_seconds=60),
        Silent(loading=True, requests=0),
    ],
    ids=["idle", "answers", "prefill", "loading"],
)
async def test_an_engine_that_may_be_silent_lives_on(engine: Silent) -> None:
    assert not await is_ended(engine, 4 * TIMEOUT)


async def to_its_end(generation: EngineRequest) -> None:
    while await generation.next_events():
        pass


async def test_a_stopped_process_is_ended_and_its_request_told() -> None:
    engine = await EngineProcess.spawn(fake_command("endless"))
    await engine.load("fake", Load("/m"), lambda _: None, hang_timeout=TIMEOUT)
    generation = engine.generate([GenerateRequest(TextPrompt("la"), 10, Sampling())])
    await generation.next_events()
    os.kill(engine.pid, signal.SIGSTOP)
    with pytest.raises(EngineDied, match="has not answered for"):
        await to_its_end(generation)
    await asyncio.wait([engine.exited])
    assert engine.crash().cause.endswith("and was ended")


def test_a_step_gets_time_for_the_prompts_it_processes() -> None:
    prefill = Prefill(step_tokens=2048)
    assert prefill.step_seconds() == 0
    prefill.note(Started(1, 1100, 100), 0.1)
    assert prefill.step_seconds() == 100  # of a speed that is not known yet, the least is assumed
    prefill.note(Started(2, 5000, 0), 0.1)
    assert prefill.step_seconds() == 204.8  # no step takes more tokens than that
    prefill.note(PrefillProgress(2, 2000, 5000), 10.0)
    assert prefill.step_seconds() == 2048 / (200 / 4)
    prefill.note(Delta(2, "x"), 0.1)
    assert prefill.step_seconds() == 1000 / (200 / 4)
    prefill.note(Delta(1, "x"), 0.1)
    assert prefill.step_seconds() == 0


def test_hangs_are_watched_for_by_default() -> None:
    assert Config().engine == EngineConfig(hang_timeout=30.0)
