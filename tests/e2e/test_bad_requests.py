"""Some hundred bad requests of every kind, with good streams beside them.

`make bad-requests` sends more of them.
"""

import asyncio
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.bad_requests.attack import Attack, GoodStreams, attacked
from tests.bad_requests.case import Case, load, request
from tests.bad_requests.drawing import drawn
from tests.bad_requests.sending import send
from tests.support.daemon_process import wait_until

pytestmark = pytest.mark.slow

COUNT = 250
SEED = 17


@pytest.fixture(scope="module")
def attack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Attack, GoodStreams]]:
    with attacked(tmp_path_factory.mktemp("faults")) as attack:
        yield attack


def test_bad_requests_are_answered_or_refused_and_good_streams_go_on(
    attack: tuple[Attack, GoodStreams],
) -> None:
    attack, streams = attack
    attack.begin(streams, 1.0)
    attack.round(streams, drawn(COUNT, SEED))
    summary = attack.end()
    print(summary.table())
    silences = [fault for fault in summary.faults if "were silent" in fault]  # slow machines
    assert [fault for fault in summary.faults if fault not in silences] == []
    assert summary.answers >= 8


def test_what_is_wrong_is_found_and_can_be_sent_again(
    attack: tuple[Attack, GoodStreams], tmp_path: Path
) -> None:
    attack, _ = attack
    case = Case(kind="none", name="no HTTP", pieces=[b"EHLO\r\n\r\n"])
    cut = Case(kind="none", name="cut", pieces=[request("POST", "/v1/completions", b"{}")[:-1]])
    assert asyncio.run(send(case, attack.port, attack.socket)).statuses == [400]
    again = load(cut.save(tmp_path, 1))
    assert again == cut
    assert asyncio.run(send(again, 1, attack.socket)).fault


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep freed memory for longer")
def test_large_bodies_leave_little_of_their_memory(attack: tuple[Attack, GoodStreams]) -> None:
    attack, _ = attack
    many = [item * 160_000 + b"1]}" for item in (b'{"a":{}},', b'{"role":"user"},', b"[[]],")]
    fields = [b'{"messages":[', b'{"messages":[{"role":"user","content":"x"}],"tools":[']
    cases = [
        Case(kind="", name="", pieces=[request("POST", "/v1/chat/completions", field + rest)])
        for field, rest in itertools.product(fields, many)
    ]

    async def send_all() -> list[list[int]]:
        outcomes = await asyncio.gather(*(send(case, attack.port, None) for case in cases * 2))
        return [outcome.statuses for outcome in outcomes]

    memory = psutil.Process(attack.pid).memory_info
    before = memory().rss
    for _ in range(4):
        assert asyncio.run(send_all()) == [[400]] * len(cases) * 2
    wait_until(lambda: memory().rss < before + 30_000_000, "memory was returned")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep freed memory for longer")
def test_sockets_that_are_left_leave_little_of_their_memory(
    attack: tuple[Attack, GoodStreams],
) -> None:
    attack, _ = attack
    cases = [case for case in drawn(120, SEED, "frames") if case.name == "many large turns, left"]

    async def send_all() -> None:
        await asyncio.gather(*(send(case, attack.port, None) for case in cases * 6))

    memory = psutil.Process(attack.pid).memory_info
    before = memory().rss
    asyncio.run(send_all())
    wait_until(lambda: memory().rss < before + 20_000_000, "memory was returned")


def test_a_seed_gives_the_same_cases() -> None:
    assert {case.kind for case in drawn(40, SEED)} > {"poison", "torn HTTP", "WebSocket turns"}
    assert drawn(40, SEED) == drawn(40, SEED)
