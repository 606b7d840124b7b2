"""One running request, from its first event to its last."""

from typing import cast

import pytest

from mlxd.engine.loader import LoadedModel
from mlxd.engine.output import Output
from mlxd.engine.preprocessing import Prepared
from mlxd.engine.sampling import Row
from mlxd.engine.sequence import Sequence
from mlxd.engine.structured_output import Constraint
from mlxd.generate_request import Sampling
from mlxd.messages import (
    Delta,
    Failed,
    Finished,
    Generate,
    Started,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from tests.support.scheduler_bench import ask

END = 258


class FailedConstraint:
    failure = "too complex"

    def __init__(self, too_complex: bool) -> None:
        self.too_complex = too_complex


@pytest.fixture
def sequence(loaded: LoadedModel) -> Sequence:
    return make_sequence(loaded)


def make_sequence(loaded: LoadedModel, constraint: Constraint | None = None) -> Sequence:
    return Sequence(
        Prepared(Generate(7, ask("abc", stop=["!"])), list(b"abc")),
        Row(Sampling(), seed=0, prompt_tokens=3, constraint=constraint),
        Output(7, loaded.tokenizer, ["!"]),
        lambda token: bytes([token]),
        cached_tokens=2,
        max_tokens=9,
    )


def test_the_first_event_says_how_much_of_the_prompt_is_cached(sequence: Sequence) -> None:
    assert sequence.started() == Started(7, prompt_tokens=3, cached_tokens=2)


def test_an_end_token_ends_the_answer_and_is_not_shown(sequence: Sequence) -> None:
    assert sequence.advance(ord("x"), None) == [Delta(7, "x")]
    assert not sequence.ended
    assert sequence.advance(END, "stop") == [Finished(7, "stop", Usage(3, 2, 2))]
    assert sequence.ended


def test_a_stop_text_ends_the_answer_before_its_computation_ends(sequence: Sequence) -> None:
    assert sequence.advance(ord("!"), None) == [Finished(7, "stop", Usage(3, 2, 1), "!")]
    assert sequence.ended


def test_tokens_are_described_with_their_log_probabilities(sequence: Sequence) -> None:
    (delta,) = sequence.advance(ord("x"), None, ((ord("x"), -0.5), [(ord("y"), -1.5)]))
    token, other = TopLogprob(120, "x", b"x", -0.5), TopLogprob(121, "y", b"y", -1.5)
    assert delta == Delta(7, "x", [TokenLogprob(token, [other])])


@pytest.mark.parametrize(
    ("too_complex", "kind"), [(True, "invalid_request"), (False, "generation_failed")]
)
def test_an_answer_whose_grammar_failed_ends_with_an_error(
    loaded: LoadedModel, too_complex: bool, kind: str
) -> None:
    sequence = make_sequence(loaded, cast(Constraint, FailedConstraint(too_complex)))
    delta, failed = sequence.advance(ord("x"), "length")
    assert delta == Delta(7, "x")
    assert isinstance(failed, Failed)
    assert failed.kind == kind
    assert "too complex" in failed.message
