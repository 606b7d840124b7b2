"""What is remembered of requests that may have ended an engine."""

import msgspec

from mlxd.pool.suspects import Suspects
from tests.support.clock import Clock
from tests.support.pool import text


def test_a_request_is_a_strong_suspect_if_it_ran_alone_or_two_engines_died_with_it() -> None:
    suspects = Suspects()
    suspects.add(text("alone"), 3, alone=True)
    suspects.add(text("beside"), 5, alone=False)
    alone, beside = suspects.find(text("alone")), suspects.find(text("beside"))
    assert (alone.strong, alone.pieces, beside.strong, beside.pieces) == (True, 3, False, 5)
    suspects.add(text("beside"), 4, alone=False)
    assert (beside.strong, beside.pieces) == (True, 5)
    assert suspects.find(text("another")) is None


def test_requests_are_told_apart_by_their_key_but_not_by_their_seed() -> None:
    suspects = Suspects()
    suspects.prove(text("x"))
    (request,) = text("x")
    assert suspects.find([msgspec.structs.replace(request, seed=7)]).proven
    assert suspects.find([msgspec.structs.replace(request, salt="another key")]) is None


def test_a_request_that_went_well_is_no_suspect() -> None:
    suspects = Suspects()
    suspects.add(text("x"), 0, alone=True)
    suspects.clear(text("x"))
    assert suspects.find(text("x")) is None


def test_suspects_are_forgotten_after_ten_minutes_or_when_there_are_many() -> None:
    clock = Clock()
    suspects = Suspects(clock)
    suspects.prove(text("first"))
    assert suspects.minutes_left(suspects.find(text("first"))) == 10
    for number in range(256):
        suspects.prove(text(str(number)))
    assert suspects.find(text("first")) is None
    clock.now += 601.0
    assert suspects.find(text("255")) is None
