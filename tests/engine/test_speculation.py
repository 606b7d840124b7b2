"""A draft model changes how fast an answer comes, never the answer."""

from pathlib import Path
from unittest.mock import Mock

import pytest
from msgspec import structs

from mlxd.engine.loader import load_model
from mlxd.generate_request import Draft, GenerateRequest, Penalties, Sampling
from mlxd.messages import Failed, Load, PrefillProgress, Started
from scripts.random_model import make_random_model
from scripts.tiny_model import make_tiny_model
from tests.support.scheduler_bench import Alone, Bench, MakeBench, ask

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with other weights: most of its guesses are wrong."""
    return make_tiny_model(tmp_path_factory.mktemp("draft") / "other", seed=1)


@pytest.fixture(params=["itself", "another"])
def draft(request: pytest.FixtureRequest, tiny_model: Path, other: Path) -> Path:
    return tiny_model if request.param == "itself" else other


@pytest.mark.parametrize("guesses", [1, 3, 8])
@pytest.mark.parametrize(
    "request_of",
    [
        ask("greedy", 40),
        ask("seeded", 40, sampling=Sampling(temperature=1.0, top_p=0.9), seed=5),
        ask("penalised", 40, penalties=Penalties(repetition_penalty=1.5, frequency_penalty=0.5)),
        ask("biased", 40, logit_bias={65: 3.0, 66: 3.0}),
        ask("stopped", 40, stop=["e"]),
        ask("w" * 100, 1),
    ],
    ids=lambda request: request.prompt.text[:9],
)
def test_an_answer_with_a_draft_equals_the_one_without(
    make_bench: MakeBench, alone: Alone, draft: Path, guesses: int, request_of: GenerateRequest
) -> None:
    bench = make_bench()
    bench.admit(0, with_draft(request_of, draft, guesses))
    bench.run()
    assert bench.text(0) == alone(request_of)


def test_a_good_draft_saves_steps(make_bench: MakeBench, tiny_model: Path) -> None:
    bench = make_bench()
    bench.admit(0, with_draft(ask("fast", 41), tiny_model, 4))
    steps = 0
    while bench.scheduler.busy:
        bench.step()
        steps += 1
    assert bench.finished(0).usage.completion_tokens == 41
    assert steps <= 1 + 41 // 4


def test_it_runs_beside_the_batch(make_bench: MakeBench, alone: Alone, draft: Path) -> None:
    bench = make_bench()
    bench.admit(0, ask("in the batch", 30))
    bench.admit(1, with_draft(ask("drafted", 30), draft, 3))
    bench.admit(2, ask("in the batch too", 30))
    bench.run()
    for request_id, prompt in enumerate(["in the batch", "drafted", "in the batch too"]):
        assert bench.text(request_id) == alone(ask(prompt, 30))


def test_a_long_prompt_is_read_in_parts(make_bench: MakeBench, tiny_model: Path) -> None:
    bench = make_bench(prefill_step_size=16)
    bench.admit(0, with_draft(ask("p" * 50, 4), tiny_model, 2))
    bench.run()
    progress = [e for e in bench.events[0] if isinstance(e, PrefillProgress)]
    assert [(e.done, e.total) for e in progress] == [(16, 50), (32, 50), (48, 50)]


def test_a_second_turn_reuses_what_both_models_computed(
    make_bench: MakeBench, alone: Alone, draft: Path
) -> None:
    bench = make_bench(prompt_cache_bytes=10_000_000)
    bench.admit(0, with_draft(ask("turn one", 12), draft, 3))
    bench.run()
    second = ask("turn one" + bench.text(0) + "turn two", 12)
    bench.admit(1, with_draft(second, draft, 3))
    bench.admit(2, second)
    bench.run()
    for request_id in (1, 2):
        started = bench.events[request_id][0]
        assert isinstance(started, Started)
        assert started.cached_tokens > len("turn one")
        assert bench.text(request_id) == alone(second)


@pytest.mark.parametrize("drafting", ["llama", "gemma3_text"])
def test_a_wrong_guess_is_forgotten_by_sliding_windows_that_are_full(
    tmp_path: Path, drafting: str
) -> None:
    folders = {name: make_random_model(tmp_path / name, name) for name in ("gemma3_text", drafting)}
    # The draft model does not know of the penalty.
    penalties = Penalties(presence_penalty=0.01, presence_context_size=5)
    request = ask("x" * 40, 60, penalties=penalties)
    bench = Bench(load_model(Load(str(folders["gemma3_text"])), lambda _: None))
    bench.run_all(request, with_draft(request, folders[drafting], 4))
    assert bench.text(1) == bench.text(0)


def test_log_probabilities_are_those_of_the_model_that_answers(
    make_bench: MakeBench, draft: Path
) -> None:
    plain = ask("told", 12, logprobs=3)
    bench = make_bench().run_all(plain, with_draft(plain, draft, 3))
    alone, drafted = ([e.token for e in bench.logprobs(request_id)] for request_id in (0, 1))
    assert [token.id for token in alone] == [token.id for token in drafted]
    assert [t.logprob for t in alone] == pytest.approx([t.logprob for t in drafted], abs=1e-4)


def test_a_draft_model_with_another_vocabulary_is_rejected(
    make_bench: MakeBench, smollm2: Path
) -> None:
    bench = make_bench()
    bench.admit(0, with_draft(ask("hi", 5), smollm2, 2))
    bench.run()
    _started, failed = bench.events[0]
    assert isinstance(failed, Failed)
    assert failed.param == "draft_model"
    assert "vocabulary differs" in failed.message


def with_draft(request: GenerateRequest, path: Path, guesses: int) -> GenerateRequest:
    return structs.replace(request, draft=Draft(str(path), guesses))


def test_a_draft_that_does_not_fit_is_read_once(
    make_bench: MakeBench, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_tokens = Mock(return_value=False)
    monkeypatch.setattr("mlxd.engine.draft_loading._has_tokens", has_tokens)
    bench = make_bench()
    for request_id in range(3):
        bench.admit(request_id, with_draft(ask("x", 2), other, 2))
        if request_id:
            bench.run()
        assert isinstance(bench.events[request_id][-1], Failed) == (request_id > 0)
    assert has_tokens.call_count == 1


def test_others_go_on_while_a_draft_model_is_loaded(
    make_bench: MakeBench, alone: Alone, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxd.engine.loader._SMALLEST_PART_BYTES", 1)
    monkeypatch.setattr("mlxd.engine.loader._PARTS", 10**9)  # each array is a part
    bench = make_bench()
    bench.admit(0, ask("in the batch", 200))
    bench.step()
    for request_id in (1, 2, 3):
        bench.admit(request_id, with_draft(ask("drafted", 5), other, 3))
    before = len(bench.events[0])
    bench.step()
    bench.abort(2)
    while len(bench.events[1]) == 1:  # `Started`
        bench.step()
    assert len(bench.events[0]) > before + 10
    bench.run()
    assert bench.text(1) == bench.text(3) == alone(ask("drafted", 5))
    assert bench.text(0) == alone(ask("in the batch", 200))
    assert bench.finished(2).reason == "abort"


def test_a_part_of_one_prompt_is_read_at_a_time(
    make_bench: MakeBench, alone: Alone, tiny_model: Path
) -> None:
    bench = make_bench(prefill_step_size=8)
    requests = [ask("hi", 30), ask("l" * 200, 5), ask("m" * 50, 5)]
    for request_id, request in enumerate(requests):
        bench.admit(request_id, with_draft(request, tiny_model, 2))

    def read() -> dict[int, int]:
        parts = [event for each in bench.events.values() for event in each]
        return {part.id: part.done for part in parts if isinstance(part, PrefillProgress)}

    before = read()
    while bench.scheduler.busy:
        bench.step()
        assert sum(read().values()) <= sum(before.values()) + 8
        before = read()
    for request_id, request in enumerate(requests):
        assert bench.text(request_id) == alone(request)


def test_one_draft_model_follows_another(
    make_bench: MakeBench, alone: Alone, tiny_model: Path, other: Path
) -> None:
    bench = make_bench()
    bench.admit(0, with_draft(ask("one", 20), tiny_model, 3))
    bench.step()
    bench.admit(1, with_draft(ask("two", 20), other, 3))
    bench.admit(2, with_draft(ask("three", 20), tiny_model, 3))
    bench.run()
    for request_id, prompt in enumerate(["one", "two", "three"]):
        assert bench.text(request_id) == alone(ask(prompt, 20))
