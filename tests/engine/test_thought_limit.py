"""The end of a thought that takes too long, on the tiny random model with marks."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest

from mlxd.engine.loader import LoadedModel, load_model
from mlxd.engine.thought_limit import ThoughtLimit
from mlxd.messages import ChatPrompt, GenerateRequest, Grammar, Load, Reasoning, Template
from tests.support.scheduler_bench import GREEDY, Bench

VOCABULARY = 16
BEGIN, END = (3,), (5, 6)
HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def marked(marked_model: Path) -> LoadedModel:
    return load_model(Load(str(marked_model)), lambda _fraction: None)


def allowed(prompt: list[int], answer: list[int], budget: int, *, inside: bool) -> list[int]:
    """Return the tokens that the limit leaves possible."""
    tokenizer = SimpleNamespace(think_start_tokens=BEGIN, think_end_tokens=END)
    limit = ThoughtLimit(tokenizer, len(prompt), budget, in_reasoning=inside)
    logits = limit(mx.array(prompt + answer), mx.zeros((1, VOCABULARY)))
    return [token for token, value in enumerate(logits[0].tolist()) if value == 0]


EVERY = list(range(VOCABULARY))


@pytest.mark.parametrize(
    ("answer", "inside", "expected"),
    [
        ([9, 9], True, EVERY),  # it may think on
        ([9, 9, 9], True, [5]),
        ([9, 9, 9, 5], True, [6]),  # the second token of the mark
        ([9, 9, 5, 9], True, [5]),
        ([9, 5, 6, 9], True, EVERY),  # the thought has ended
        ([9, 9, 9, 9], False, EVERY),  # there is none
        ([3, 9, 9, 9], False, [5]),
    ],
)
def test_after_its_budget_a_thought_can_only_end(
    answer: list[int], inside: bool, expected: list[int]
) -> None:
    assert allowed([3, 5, 6], answer, 3, inside=inside) == expected


def ask(budget: int | None, **fields: Any) -> GenerateRequest:
    template = Template(arguments={"enable_thinking": True})
    prompt = ChatPrompt(HI, template)
    return GenerateRequest(prompt, 60, GREEDY, thought_tokens=budget, **fields)


def thought(bench: Bench, request_id: int) -> str:
    events = bench.events[request_id]
    return "".join(event.text for event in events if isinstance(event, Reasoning))


def test_the_model_answers_once_its_thought_has_taken_its_budget(marked: LoadedModel) -> None:
    bench = Bench(marked).run_all(ask(None), ask(10), ask(0))
    assert len(thought(bench, 0)) > 10
    assert bench.finished(1).usage.reasoning_tokens == 11  # with the mark that ends it
    assert thought(bench, 2) == ""
    assert bench.text(1)
    assert bench.text(2)


def test_what_follows_the_thought_matches_the_grammar(marked: LoadedModel) -> None:
    bench = Bench(marked).run_all(ask(10, grammar=Grammar("regex", "[ab]{3}", "guided_regex")))
    assert len(thought(bench, 0)) > 1
    assert set(bench.text(0)) <= {"a", "b"}
    assert len(bench.text(0)) == 3
