"""Requests on their way through the pool; the engines are tests/fakes/engine.py."""

import asyncio
import os
import signal
from pathlib import Path

import msgspec
import pytest
import uvloop

from mlxd.config import Config, EngineConfig, ModelsConfig, ModelSettings, ServerConfig
from mlxd.errors import Draining, EndsEngine, EngineDied, LoadFailed, NotAlone, QueueFull
from mlxd.messages import Started
from mlxd.models.catalog import Adapter
from mlxd.pool.model import State
from mlxd.pool.pool import Pool
from tests.support.pool import LaunchFake, first_delta, make_entry, open_pool, read, text, until

A, B = make_entry("a"), make_entry("b")


async def test_the_first_request_loads_the_model_and_the_next_finds_it_ready(
    launch_fake: LaunchFake,
) -> None:
    async with open_pool(launch_fake("")) as pool:
        assert await read(pool.submit(A, text("one two"))) == "one two"
        first = pool.model(A).engine
        assert await read(pool.submit(A, text("three"))) == "three"
        assert pool.model(A).state is State.READY
        assert pool.model(A).engine is first
        await pool.healthy()


async def test_another_model_waits_its_turn_and_every_request_is_answered(
    launch_fake: LaunchFake,
) -> None:
    async with open_pool(launch_fake("")) as pool:
        requests = [pool.submit([A, B][i % 2], text(f"w{i}")) for i in range(6)]
        answers = await asyncio.gather(*map(read, requests))
        assert answers == [f"w{i}" for i in range(6)]
        states = sorted([pool.model(A).state, pool.model(B).state])
        assert states == [State.READY, State.UNLOADED]
        assert pool.requests == 0


async def test_a_model_with_an_adapter_is_another_model(launch_fake: LaunchFake) -> None:
    adapted = msgspec.structs.replace(A, adapter=Adapter("pirate", Path("/adapters/pirate")))
    async with open_pool(launch_fake("")) as pool:
        assert await read(pool.submit(A, text("plain"))) == "plain"
        assert await read(pool.submit(adapted, text("ahoy"))) == "ahoy"
        assert pool.model(adapted) is not pool.model(A)
        assert (pool.model(A).state, pool.model(adapted).state) == (State.UNLOADED, State.READY)
        assert await read(pool.submit(A, text("plain again"))) == "plain again"
        assert (pool.model(A).state, pool.model(adapted).state) == (State.READY, State.UNLOADED)


async def test_an_engine_that_dies_before_the_first_text_is_replaced_once(
    launch_fake: LaunchFake, tmp_path: Path
) -> None:
    async with open_pool(launch_fake(f"die-once={tmp_path / 'died'}")) as pool:
        assert await read(pool.submit(A, text("still answered"))) == "still answered"


async def test_a_request_is_run_again_unless_the_client_has_seen_part_of_its_answer(
    launch_fake: LaunchFake,
) -> None:
    async def half_read_on_an_engine_that_dies(*, stream: bool) -> str:
        async with open_pool(launch_fake("endless")) as pool:
            request = pool.submit(A, text("la"), stream=stream)
            await first_delta(request)
            engine = pool.model(A).engine
            assert engine is not None
            os.kill(engine.pid, signal.SIGKILL)
            async for events in request:
                if any(isinstance(event, Started) for _, event in events):
                    await request.aclose()
                    return "run again"
        return "ended"

    assert await half_read_on_an_engine_that_dies(stream=False) == "run again"
    with pytest.raises(EngineDied):
        await half_read_on_an_engine_that_dies(stream=True)


async def test_an_engine_that_always_dies_ends_in_an_error(launch_fake: LaunchFake) -> None:
    async with open_pool(launch_fake("die-after=0")) as pool:
        with pytest.raises(EngineDied, match="SIGKILL"):
            await read(pool.submit(A, text("hopeless")))


async def test_a_stream_that_has_begun_ends_with_an_error_and_the_next_gets_a_new_engine(
    launch_fake: LaunchFake,
) -> None:
    async with open_pool(launch_fake("endless")) as pool:
        request = pool.submit(A, text("la"), stream=True)
        await first_delta(request)
        engine = pool.model(A).engine
        assert engine is not None
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineDied, match="SIGKILL"):
            await read(request)
        await until(lambda: pool.model(A).state is State.FAILED)
        assert pool.model(A).cause == "the engine process was killed by SIGKILL"
        again = pool.submit(A, text("la"))
        await first_delta(again)
        await again.aclose()


async def test_a_model_that_cannot_be_loaded_fails_all_its_requests_and_says_why(
    launch_fake: LaunchFake,
) -> None:
    async with open_pool(launch_fake("unloadable")) as pool:
        waiting = [read(pool.submit(A, text("x"))) for _ in range(3)]
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(result, LoadFailed)
            assert result.message == "a cannot be loaded: no safetensors found"
        assert pool.model(A).state is State.FAILED
        assert pool.requests == 0


async def test_closing_a_request_frees_its_sequence(launch_fake: LaunchFake) -> None:
    async with open_pool(launch_fake("endless")) as pool:
        request = pool.submit(A, text("la"))
        await first_delta(request)
        await request.aclose()
        await request.aclose()
        engine = pool.model(A).engine
        assert engine is not None
        await until(lambda: engine.link.requests == 0)
        assert (pool.requests, pool.model(A).leases) == (0, 0)


async def test_a_reader_that_is_cancelled_during_the_load_holds_nothing(
    launch_fake: LaunchFake,
) -> None:
    async with open_pool(launch_fake("hang-on-load")) as pool:
        request = pool.submit(A, text("x"))
        reader = asyncio.create_task(read(request))
        await until(lambda: pool.model(A).load_progress > 0)
        assert request.progress == "loading 50%"
        reader.cancel()
        await asyncio.wait([reader])
        assert (pool.requests, pool.model(A).leases) == (0, 0)


async def test_more_requests_than_the_queue_holds_are_refused_at_once(
    launch_fake: LaunchFake,
) -> None:
    config = Config(server=ServerConfig(max_queue=2))
    async with open_pool(launch_fake(""), config) as pool:
        held = [pool.submit(A, text("x")) for _ in range(2)]
        with pytest.raises(QueueFull, match="max_queue"):
            pool.submit(A, text("x"))
        assert await asyncio.gather(*map(read, held)) == ["x", "x"]
        one = pool.submit(A, text("y"))
        with pytest.raises(QueueFull):
            pool.submit(A, text("x") * 2)
        assert await read(one) == "y"


async def test_drain_lets_running_requests_finish_and_refuses_new_ones(
    launch_fake: LaunchFake,
) -> None:
    async with open_pool(launch_fake("")) as pool:
        running = asyncio.create_task(read(pool.submit(A, text("one two three"))))
        await pool.drain(20)
        assert await running == "one two three"
        with pytest.raises(Draining):
            pool.submit(A, text("x"))
        with pytest.raises(Draining):
            await pool.healthy()


async def test_a_request_ends_although_its_close_is_cancelled(launch_fake: LaunchFake) -> None:
    async with open_pool(launch_fake("endless")) as pool:
        request = pool.submit(A, text("la"))
        await first_delta(request)
        closing = asyncio.create_task(request.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await until(lambda: pool.model(A).leases == 0)
        assert pool.requests == 0


async def test_close_ends_what_drain_could_not_wait_for(launch_fake: LaunchFake) -> None:
    async with open_pool(launch_fake("endless")) as pool:
        running = asyncio.create_task(read(pool.submit(A, text("la"))))
        await until(lambda: pool.model(A).state is State.READY)
        await pool.drain(0.01)
        await pool.close()
        with pytest.raises(Draining):
            await running


async def test_close_ends_requests_that_wait_for_a_load_or_for_room(
    launch_fake: LaunchFake,
) -> None:
    async with open_pool(launch_fake("hang-on-load")) as pool:
        waiting = [asyncio.create_task(read(pool.submit(entry, text("x")))) for entry in (A, B, A)]
        await until(lambda: pool.model(A).load_progress > 0)
        await pool.close()
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(result, Draining)
        assert all(model.state is State.UNLOADED for model in pool.models)


async def test_a_reader_that_stalls_does_not_keep_the_next_model_waiting(
    launch_fake: LaunchFake,
) -> None:
    async with open_pool(launch_fake("")) as pool:
        stalled = pool.submit(A, text("one two three"))
        await first_delta(stalled)
        assert await read(pool.submit(B, text("not held up"))) == "not held up"
        assert await read(stalled) in ("two three", "three", "")


async def test_a_model_stays_in_service_when_the_request_for_another_one_is_cancelled(
    launch_fake: LaunchFake,
) -> None:
    async with open_pool(launch_fake("endless")) as pool:
        running = pool.submit(A, text("la"))
        await first_delta(running)
        other = asyncio.create_task(read(pool.submit(B, text("la"))))
        await asyncio.sleep(0)
        other.cancel()
        await asyncio.wait([other])
        again = pool.submit(A, text("la"))
        await first_delta(again)
        await again.aclose()
        await running.aclose()


@pytest.mark.parametrize("turns", range(9))
async def test_a_request_that_comes_as_the_model_expires_is_answered(
    launch_fake: LaunchFake, turns: int
) -> None:
    config = Config(models=ModelsConfig(keep_alive=0))
    async with open_pool(launch_fake(""), config) as pool:
        for _ in range(3):
            assert await read(pool.submit(A, text("x"))) == "x"
            for _ in range(turns):
                await asyncio.sleep(0)


def test_expires_in_can_be_read_at_any_moment(launch_fake: LaunchFake) -> None:
    async def expire_at_once() -> None:
        config = Config(models=ModelsConfig(keep_alive=0))
        async with open_pool(launch_fake(""), config) as pool:
            await read(pool.submit(A, text("x")))
            while pool.model(A).state is not State.UNLOADED:
                assert pool.model(A).expires_in in (None, 0)
                await asyncio.sleep(0)

    uvloop.run(expire_at_once())


async def test_an_idle_model_is_unloaded_after_keep_alive(launch_fake: LaunchFake) -> None:
    config = Config(models=ModelsConfig(keep_alive=0.01))
    async with open_pool(launch_fake(""), config) as pool:
        await read(pool.submit(A, text("x")))
        await until(lambda: pool.model(A).state is State.UNLOADED)
        assert await read(pool.submit(A, text("again"))) == "again"


async def test_a_request_may_set_how_long_its_model_stays(launch_fake: LaunchFake) -> None:
    async with open_pool(launch_fake("")) as pool:
        await read(pool.submit(A, text("x"), keep_alive=-1))
        assert pool.model(A).expires_in is None
        await read(pool.submit(A, text("x"), keep_alive=90))
        await read(pool.submit(A, text("x")))
        assert 80 < (pool.model(A).expires_in or 0) <= 90
        await read(pool.submit(A, text("x"), keep_alive=0))
        await until(lambda: pool.model(A).state is State.UNLOADED)
        await read(pool.submit(A, text("x")))
        assert 200 < (pool.model(A).expires_in or 0) <= 300


async def test_keep_alive_can_be_configured_for_each_model(launch_fake: LaunchFake) -> None:
    config = Config(model={"a": ModelSettings(keep_alive=50), "b": ModelSettings(keep_alive=-1)})
    async with open_pool(launch_fake(""), config) as pool:
        for entry in (A, B):
            await read(pool.submit(entry, text("x")))
        assert 40 < (pool.model(A).expires_in or 0) <= 50
        assert pool.model(B).expires_in is None


async def kill_engine(pool: Pool) -> None:
    engine = pool.model(A).engine
    assert engine is not None
    os.kill(engine.pid, signal.SIGABRT)
    await until(lambda: pool.model(A).state is State.FAILED)


async def test_a_model_that_keeps_crashing_is_not_loaded_again(launch_fake: LaunchFake) -> None:
    async with open_pool(launch_fake("prints=so it ends")) as pool:
        for _ in range(3):
            await read(pool.submit(A, text("x")))
            await kill_engine(pool)
        with pytest.raises(LoadFailed) as refused:
            await read(pool.submit(A, text("x")))
        assert refused.value.message == (
            "a has failed: the engine process was killed by SIGABRT; 3 crashes in 5 minutes are "
            "too many (engine.max_crashes): `mlxctl load a` tries again, or a request in 10 s"
        )
        last = pool.model(A).crashes.last
        assert last is not None
        assert last.output == ["so it ends"]
        pool.model(A).crashes.forgive()
        assert await read(pool.submit(A, text("x"))) == "x"


async def test_a_model_that_crashed_too_often_rests_longer_each_time(
    launch_fake: LaunchFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxd.pool.crashes._FIRST_REST_SECONDS", 0.2)
    async with open_pool(launch_fake(""), Config(engine=EngineConfig(max_crashes=1))) as pool:
        crashes = pool.model(A).crashes
        for rest in (0.2, 0.4, 0.8):
            await read(pool.submit(A, text("x")))
            await kill_engine(pool)
            assert crashes.rest_seconds == rest
            with pytest.raises(LoadFailed):
                await read(pool.submit(A, text("x")))
            await until(lambda: not crashes.rests)
        assert await read(pool.submit(A, text("x"))) == "x"


def launches(pool: Pool) -> list[int]:
    """Return the process of the engine, if there is one."""
    engine = pool.model(A).engine
    return [engine.pid] if engine is not None else []


async def test_a_request_that_ends_engines_is_run_again_once_and_is_not_the_models_fault(
    launch_fake: LaunchFake,
) -> None:
    async with open_pool(launch_fake("poison=arsenic")) as pool:
        assert await read(pool.submit(A, text("x"))) == "x"
        with pytest.raises(EngineDied, match="SIGKILL"):
            await read(pool.submit(A, text("arsenic")))
        await until(lambda: pool.model(A).crashes.count == 0)
        assert await read(pool.submit(A, text("x"))) == "x"
        beside, engine = pool.submit(A, text("x")), launches(pool)
        for _ in range(4):
            with pytest.raises(EndsEngine, match="ended the engine of a, and is not run again"):
                await read(pool.submit(A, text("arsenic")))
        assert launches(pool) == engine
        assert await read(beside) == "x"
        assert pool.model(A).crashes.count == 0


async def test_a_stream_that_ended_an_engine_runs_alone_when_it_comes_again(
    launch_fake: LaunchFake,
) -> None:
    """It had been shown in part, so that nothing but the client runs it again."""
    async with open_pool(launch_fake("poison=arsenic")) as pool:
        assert await read(pool.submit(A, text("x"))) == "x"
        with pytest.raises(EngineDied):
            await read(pool.submit(A, text("some arsenic"), stream=True))
        beside = pool.submit(A, text("one two three four"))
        await first_delta(beside)
        again = asyncio.create_task(read(pool.submit(A, text("some arsenic"), stream=True)))
        assert (await read(beside)).endswith("four")
        with pytest.raises(EngineDied):
            await again
        await until(lambda: pool.model(A).crashes.count == 0)
        with pytest.raises(EndsEngine):
            await read(pool.submit(A, text("some arsenic"), stream=True))


async def test_a_suspect_does_not_wait_for_ever_to_be_alone(
    launch_fake: LaunchFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxd.pool.request._ALONE_SECONDS", 0.05)
    async with open_pool(launch_fake("endless,poison=arsenic")) as pool:
        with pytest.raises(EngineDied):
            await read(pool.submit(A, text("arsenic"), stream=True))
        pool.model(A).suspects.find(text("arsenic")).proven = False
        running = pool.submit(A, text("la"))
        await first_delta(running)
        with pytest.raises(NotAlone):
            await read(pool.submit(A, text("arsenic")))
        await running.aclose()


async def test_those_beside_a_request_that_ends_engines_are_answered(
    launch_fake: LaunchFake,
) -> None:
    async with open_pool(launch_fake("poison=arsenic")) as pool:
        assert await read(pool.submit(A, text("x"))) == "x"
        words = ["one two three", "arsenic", "four five six", "seven eight nine"]
        requests = [pool.submit(A, text(word)) for word in words]
        answers = await asyncio.gather(*map(read, requests), return_exceptions=True)
        for word, answer in zip(words, answers, strict=True):
            if word == "arsenic":
                assert isinstance(answer, EngineDied)
            else:  # with what was read before it ran again
                assert isinstance(answer, str)
                assert answer.endswith(word)
        await until(lambda: pool.model(A).crashes.count == 0)


async def test_zero_max_crashes_is_no_limit(launch_fake: LaunchFake) -> None:
    async with open_pool(launch_fake(""), Config(engine=EngineConfig(max_crashes=0))) as pool:
        for _ in range(5):
            assert await read(pool.submit(A, text("x"))) == "x"
            await kill_engine(pool)


async def test_a_load_that_crashes_is_retried_once(launch_fake: LaunchFake, tmp_path: Path) -> None:
    async with open_pool(launch_fake(f"die-in-load-once={tmp_path / 'died'}")) as pool:
        assert await read(pool.submit(A, text("x"))) == "x"
        assert pool.model(A).crashes.count == 1
    async with open_pool(launch_fake("die-before-hello")) as pool:
        with pytest.raises(EngineDied, match=r"a cannot be loaded: .* exited with status 3"):
            await read(pool.submit(A, text("x")))


async def test_healthy_fails_if_an_engine_does_not_answer(
    launch_fake: LaunchFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxd.pool.watchdog._PING_SECONDS", 0.05)
    async with open_pool(launch_fake("mute")) as pool:
        await read(pool.submit(A, text("x")))
        with pytest.raises(EngineDied, match="does not answer"):
            await pool.healthy()
