"""The two ways to compute sequences, which a scheduler uses alike."""

from pathlib import Path

import pytest

from mlxd.engine.loader import LoadedModel
from mlxd.engine.memory import Memory
from mlxd.engine.output import Output
from mlxd.engine.preprocessing import Prepared
from mlxd.engine.prompt_cache import PromptCache
from mlxd.engine.reading_speed import PromptSpeed, ReadingSpeed
from mlxd.engine.sampling import Row
from mlxd.engine.sequence import Sequence
from mlxd.engine.strategies import BatchStrategy, SpeculationStrategy, Strategy
from mlxd.generate_request import Draft, Sampling
from mlxd.messages import Delta, Event, Finished, Generate, Load, PrefillProgress, Usage
from mlxd.rate import Rate
from tests.support.scheduler_bench import MakeBench, ask

PROMPT = "p" * 30


@pytest.fixture
def prompt_cache(loaded: LoadedModel) -> PromptCache:
    return PromptCache(10_000_000, loaded.new_cache)


@pytest.fixture(params=["batch", "speculation"])
def strategy(
    request: pytest.FixtureRequest, loaded: LoadedModel, prompt_cache: PromptCache
) -> Strategy:
    if request.param == "speculation":
        return SpeculationStrategy(loaded, prompt_cache, Rate(5.0))
    return BatchStrategy(loaded, Load("unused"), prompt_cache, Rate(5.0), Memory.unlimited())


@pytest.fixture
def sequence(loaded: LoadedModel, tiny_model: Path) -> Sequence:
    """A sequence of 30 tokens, the answer of which has 5."""
    tokens = list(PROMPT.encode())
    request = ask(PROMPT, draft=Draft(str(tiny_model), 2))
    return Sequence(
        Prepared(Generate(1, request), tokens),
        Row(Sampling(), seed=0, prompt_tokens=len(tokens)),
        Output(1, loaded.tokenizer, []),
        lambda token: bytes([token]),
        cached_tokens=0,
        max_tokens=5,
    )


def test_a_sequence_leaves_with_its_terminal_event(strategy: Strategy, sequence: Sequence) -> None:
    strategy.start(sequence, None)
    events: list[Event] = []
    while not any(isinstance(event, Finished) for event in events):
        assert len(strategy) == 1
        events += strategy.step(2048)
    assert len(strategy) == 0
    assert events[-1] == Finished(1, "length", Usage(30, 0, 5))
    assert len("".join(event.text for event in events if isinstance(event, Delta))) == 5
    assert strategy.step(2048) == []


def test_each_step_reads_as_much_of_a_prompt_as_its_argument_says(
    strategy: Strategy, sequence: Sequence
) -> None:
    strategy.start(sequence, None)
    events: list[Event] = []
    while not events:  # a draft model is loaded first
        events = strategy.step(4)
    events += [event for size in (8, 2) for event in strategy.step(size)]
    assert events == [PrefillProgress(1, done, 30) for done in (4, 12, 14)]


def test_what_was_computed_of_an_answer_is_kept(
    strategy: Strategy, sequence: Sequence, prompt_cache: PromptCache
) -> None:
    strategy.start(sequence, None)
    while not strategy.step(2048):
        pass
    strategy.take_out(sequence)
    assert len(strategy) == 0
    assert prompt_cache.fetch(sequence.prompt).covered == 29


@pytest.mark.parametrize("drafts", [False, True], ids=["batch", "speculation"])
def test_no_token_of_an_answer_not_even_the_last_waits_for_a_large_part(
    make_bench: MakeBench, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, drafts: bool
) -> None:
    beside: list[bool] = []

    def part(_: ReadingSpeed, _limit: int, step_seconds: float | None, _prompt: PromptSpeed) -> int:
        beside.append(step_seconds is not None)
        return 4

    monkeypatch.setattr(ReadingSpeed, "part", part)
    draft = Draft(str(tiny_model), 2) if drafts else None
    bench = make_bench()
    bench.admit(0, ask("hi", 8, draft=draft))
    while not any(isinstance(event, Delta) for event in bench.events[0]):
        bench.step()
    bench.admit(1, ask("l" * 100, 1, draft=draft))
    beside.clear()
    while not isinstance(bench.events[0][-1], Finished):
        bench.step()
    assert beside
    assert all(beside)
    bench.run()
    assert not beside[-1]
