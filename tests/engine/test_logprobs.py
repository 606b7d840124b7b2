"""Log-probabilities, which are the same in a batch as alone."""

import math

import pytest

from mlxd.engine.logprobs import LEAST
from mlxd.generate_request import Penalties
from tests.support.scheduler_bench import Alone, MakeBench, ask


def test_log_probabilities_are_those_of_the_answer(make_bench: MakeBench) -> None:
    bench = make_bench().run_all(ask("told", 10, logprobs=4))
    entries = bench.logprobs(0)
    assert "".join(entry.token.text for entry in entries) == bench.text(0)
    assert b"".join(entry.token.bytes for entry in entries) == bench.text(0).encode()
    for entry in entries:
        assert entry.token == entry.top[0]  # greedy takes the likeliest
        values = [other.logprob for other in entry.top]
        assert len(values) == 4
        assert values == sorted(values, reverse=True)
        assert sum(math.exp(value) for value in values) <= 1.0001


def test_logprobs_0_reports_only_the_chosen_token(make_bench: MakeBench) -> None:
    entries = make_bench().run_all(ask("told", 5, logprobs=0)).logprobs(0)
    assert [entry.top for entry in entries] == [[]] * 5


def test_log_probabilities_do_not_depend_on_the_batch(make_bench: MakeBench) -> None:
    shapes = [(1, 0), (30, 5), (7, 2)]
    requests = [ask("x" * length, 12, logprobs=count) for length, count in shapes]
    together = make_bench().run_all(ask("no interest", 30), *requests)
    for place, request in enumerate(requests):
        expected = make_bench().run_all(request).logprobs(0)
        found = together.logprobs(place + 1)
        assert [e.token.id for e in found] == [e.token.id for e in expected]
        assert [len(e.top) for e in found] == [len(e.top) for e in expected]
        assert [e.token.logprob for e in found] == pytest.approx(
            [e.token.logprob for e in expected], abs=1e-4
        )
    assert together.logprobs(0) == []


def test_a_stop_text_takes_its_log_probabilities_along(make_bench: MakeBench, alone: Alone) -> None:
    whole = alone(ask("stop me", 40))
    stop = whole[10:13]
    bench = make_bench().run_all(ask("stop me", 40, stop=[stop], logprobs=0))
    assert "".join(entry.token.text for entry in bench.logprobs(0)) == whole[: whole.index(stop)]


def test_log_probabilities_are_numbers_whatever_a_penalty_makes_of_the_logits(
    make_bench: MakeBench,
) -> None:
    endless = Penalties(repetition_penalty=1e-300)
    bench = make_bench().run_all(ask("again", 4, penalties=endless, logprobs=3))
    entries = [chance for entry in bench.logprobs(0) for chance in (entry.token, *entry.top)]
    assert len(entries) == 16
    assert all(LEAST <= entry.logprob <= 0 for entry in entries)
