"""What is asked of an engine and what comes back; the engines are tests/fakes/engine.py."""

import asyncio
import os
import signal

import pytest

from mlxd.errors import EngineDied, InvalidRequest
from mlxd.generate_request import ChatPrompt, GenerateRequest, Sampling
from mlxd.messages import Delta, Finished, Started
from mlxd.pool.engine_link import LinkState
from tests.support.pool import DEADLINE, collect, collect_choices, running_engine, text, until


async def test_an_answer_begins_with_started_and_ends_with_finished() -> None:
    async with running_engine() as engine:
        events = await collect(engine.link.generate(text("one two")))
        assert [type(event) for event in events] == [Started, Delta, Delta, Finished]


async def test_the_choices_of_a_request_come_together() -> None:
    async with running_engine() as engine:
        events = await collect_choices(engine.link.generate(text("one two", "three", "four")))
        for index, words in enumerate((["one", "two"], ["three"], ["four"])):
            mine = [event for number, event in events if number == index]
            assert [type(event) for event in mine] == [Started, *[Delta] * len(words), Finished]
            assert [event.text for event in mine if isinstance(event, Delta)] == words
        assert engine.link.requests == 0


async def test_a_choice_that_fails_ends_the_others() -> None:
    async with running_engine("endless") as engine:
        bad = GenerateRequest(ChatPrompt([]), 10, Sampling())
        request = engine.link.generate([*text("la"), bad, *text("la")])
        ends: list[None] = []
        request.on_end = lambda: ends.append(None)
        with pytest.raises(InvalidRequest):
            await collect(request)
        while engine.link.requests:
            await engine.link.ping(DEADLINE)
        assert ends == [None]


async def test_requests_share_one_socket_and_keep_apart() -> None:
    async with running_engine() as engine:
        requests = [engine.link.generate(text(f"a{i} b{i}")) for i in range(20)]
        for i, events in enumerate(await asyncio.gather(*map(collect, requests))):
            assert [e.text for e in events if isinstance(e, Delta)] == [f"a{i}", f"b{i}"]
        assert engine.link.requests == 0


async def test_a_refused_request_says_which_field_is_at_fault() -> None:
    async with running_engine() as engine:
        refused = engine.link.generate([GenerateRequest(ChatPrompt([]), 10, Sampling())])
        with pytest.raises(InvalidRequest) as caught:
            await collect(refused)
        assert caught.value.param == "messages"


async def test_close_aborts_once_and_the_terminal_message_still_comes() -> None:
    async with running_engine("endless") as engine:
        request = engine.link.generate(text("la"))
        while not any(isinstance(event, Delta) for _, event in await request.next_events()):
            pass
        request.close()
        request.close()
        assert await collect(request) in ([], [Delta(1, "la")])
        while engine.link.requests:
            await engine.link.ping(DEADLINE)


async def test_an_aborted_request_is_in_flight_until_the_engine_has_ended_it() -> None:
    async with running_engine("endless,slow-abort") as engine:
        request = engine.link.generate(text("la"))
        await request.next_events()
        request.close()
        await collect(request)
        assert engine.link.requests == 1
        await engine.link.ping(DEADLINE)
        assert engine.link.requests == 0


async def test_a_ping_refreshes_the_figures() -> None:
    async with running_engine() as engine:
        assert (engine.link.state, engine.link.memory_bytes) == (LinkState.READY, 1000)
        await engine.link.ping(DEADLINE)
        assert engine.link.memory_bytes == 4242


async def test_a_mute_engine_does_not_answer_a_ping() -> None:
    async with running_engine("mute") as engine:
        with pytest.raises(TimeoutError):
            await engine.link.ping(0.05)


async def test_a_ping_in_flight_fails_when_the_engine_ends() -> None:
    async with running_engine("mute") as engine:
        ping = asyncio.create_task(engine.link.ping(DEADLINE))
        await asyncio.sleep(0)
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineDied, match="SIGKILL"):
            await ping
        with pytest.raises(EngineDied, match="SIGKILL"):
            await engine.link.ping(DEADLINE)


async def test_figures_are_asked_for_once_a_second_and_told_when_they_come() -> None:
    async with running_engine("grows=7777") as engine:
        told = asyncio.Event()
        engine.link.on_figures = told.set
        engine.link.refresh()
        await told.wait()
        assert engine.link.memory_bytes == 7777
        told.clear()
        engine.link.refresh()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await told.wait()


async def test_a_busy_engine_is_asked_for_figures_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlxd.pool.engine_link._REFRESH_SECONDS", 0.01)
    async with running_engine("endless") as engine:
        figures: list[tuple[float, int]] = []
        engine.link.on_figures = lambda: figures.append(
            (engine.link.tokens_per_second, engine.link.cache_bytes)
        )
        request = engine.link.generate(text("la"))
        await until(lambda: len(figures) >= 3)
        assert figures[-1] == (10.0, 100)
        request.close()
        await until(lambda: engine.link.requests == 0)
        engine.link.refresh()
        await until(lambda: figures[-1] == (0.0, 0))


async def test_an_update_asks_an_engine_that_works_and_lets_an_idle_one_rest() -> None:
    async with running_engine("endless") as engine:
        told: list[float] = []
        engine.link.on_figures = lambda: told.append(engine.link.tokens_per_second)
        await engine.link.update(DEADLINE)
        assert told == []
        request = engine.link.generate(text("la"))
        await engine.link.update(DEADLINE)
        assert told == [10.0]
        await engine.link.update(DEADLINE)  # the figures are not a second old
        assert told == [10.0]
        request.close()


async def test_an_update_does_not_wait_long_for_a_busy_engine() -> None:
    async with running_engine("mute") as engine:
        engine.link.generate(text("la"))
        await engine.link.update(0.01)
        assert engine.link.memory_bytes == 1000


async def test_requests_that_have_not_started_are_queued() -> None:
    async with running_engine("endless") as engine:
        request = engine.link.generate(text("a", "b"))
        assert engine.link.queued == 1
        await request.next_events()
        assert engine.link.queued == 0
        request.close()


async def test_an_engine_that_hangs_up_is_refused_at_once_and_killed_after_a_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlxd.pool.engine_link.STOP_GRACE", 0.2)
    async with running_engine("hang-up") as engine:
        request = engine.link.generate(text("la"))
        await until(lambda: not engine.link.alive)
        assert not engine.exited.done()
        with pytest.raises(EngineDied, match="has closed its socket"):
            engine.link.generate(text("too late"))
        with pytest.raises(EngineDied, match="has closed its socket"):
            await engine.link.ping(DEADLINE)
        with pytest.raises(EngineDied, match="SIGKILL"):
            await collect(request)


async def test_an_engine_that_reports_a_fatal_error_and_stays_is_killed_after_a_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlxd.pool.engine_link.STOP_GRACE", 0.05)
    async with running_engine("fatal-and-stays") as engine:
        with pytest.raises(EngineDied, match="the GPU is gone"):
            await collect(engine.link.generate(text("la")))
        assert not engine.link.alive


async def test_what_a_killed_engine_still_says_changes_nothing() -> None:
    async with running_engine("endless") as engine:
        request = engine.link.generate(text("la"))
        engine.link.kill("the first cause")
        engine.link.kill("another one")
        with pytest.raises(EngineDied, match="the first cause"):
            await collect(request)
