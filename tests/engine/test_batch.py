"""What batches hold, and bias and penalties, which have the same effect in a batch as alone."""

import io
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest
from mlx_lm.generate import StopSequences
from mlx_lm.models.cache import make_prompt_cache

from mlxd.engine import batch
from mlxd.engine.batch import Batch, Start
from mlxd.engine.cache_layers import arrays_of, merge
from mlxd.engine.loader import LoadedModel
from mlxd.engine.sampling import Row
from mlxd.generate_request import Penalties, Sampling
from mlxd.messages import Failed
from tests.support.random_models import load_random_tokenizer, make_loaded_model
from tests.support.scheduler_bench import Alone, MakeBench, ask


def graph_size(array: mx.array) -> int:
    """Return how many edges the graph has that is to be computed for an array."""
    graph = io.StringIO()
    mx.export_to_dot(graph, array)
    return graph.getvalue().count("->")


@pytest.mark.parametrize("name", ["gpt2", "nemotron_h", "kimi_linear"])
def test_a_batch_holds_no_more_after_many_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """These models have layers that never need the offset of their tokens."""
    monkeypatch.setattr(batch, "_STEPS_BETWEEN_CLEARING", 10)
    model = make_loaded_model(name, load_random_tokenizer(tmp_path)).model
    cache = merge([make_prompt_cache(model) for _ in range(2)])
    running = Batch(model, together=True, most_padding=0)
    never = StopSequences([])
    starts = [Start(id_, [65], Row(Sampling(), 0), [], never, 100) for id_ in range(2)]
    running.start(starts, cache)
    sizes = []
    for step in range(41):
        assert len(list(running.step())) == 2
        if step in (20, 40):
            sizes.append(sum(map(graph_size, arrays_of(cache))))
    assert sizes[0] == sizes[1]


def test_a_bias_forces_a_token_and_forbids_another(alone: Alone) -> None:
    plain = alone(ask("bias", 8))
    assert alone(ask("bias", 8, logit_bias={ord("A"): 100.0})) == "A" * 8
    forbidden = plain[0]
    assert forbidden not in alone(ask("bias", 8, logit_bias={ord(forbidden): -100.0}))


def test_a_bias_outside_the_vocabulary_is_rejected_by_its_key(
    make_bench: MakeBench, loaded: LoadedModel
) -> None:
    bench = make_bench().run_all(ask("bias", 3, logit_bias={loaded.vocabulary: 1.0}))
    (failed,) = bench.events[0]
    assert isinstance(failed, Failed)
    assert failed.param == f"logit_bias.{loaded.vocabulary}"


@pytest.mark.parametrize(
    "penalties",
    [
        Penalties(repetition_penalty=50.0),
        Penalties(presence_penalty=50.0),
        Penalties(frequency_penalty=50.0),
    ],
    ids=["repetition", "presence", "frequency"],
)
def test_a_penalty_keeps_tokens_from_repeating(alone: Alone, penalties: Penalties) -> None:
    repeating = {ord("A"): 60.0, ord("B"): 50.0, ord("C"): 40.0}
    plain = ask("again", 3, logit_bias=repeating)
    penalised = ask("again", 3, logit_bias=repeating, penalties=penalties)
    assert alone(plain) == "AAA"
    assert alone(penalised) == "ABC"


def test_a_penalty_forgets_what_lies_before_its_context(alone: Alone) -> None:
    repeating = {ord("A"): 60.0, ord("B"): 50.0}
    short = Penalties(presence_penalty=50.0, presence_context_size=1)
    assert alone(ask("again", 4, logit_bias=repeating, penalties=short)) == "ABAB"


def test_a_frequency_penalty_grows_with_each_time(alone: Alone) -> None:
    repeating = {ord("A"): 30.0, ord("B"): 20.0}
    growing = Penalties(frequency_penalty=4.0)
    text = alone(ask("again", 4, logit_bias=repeating, penalties=growing))
    assert text == "AAAB"


@pytest.mark.parametrize(
    ("penalties", "moved_by"),
    [
        (Penalties(presence_penalty=1.5), lambda logit: logit - 1.5),
        (Penalties(frequency_penalty=0.5), lambda logit: logit - 1.0),
        (
            Penalties(repetition_penalty=1.3),
            lambda logit: logit / 1.3 if logit > 0 else logit * 1.3,
        ),
    ],
)
def test_a_penalty_changes_the_logits_of_earlier_tokens(
    make_bench: MakeBench, penalties: Penalties, moved_by: Callable[[float], float]
) -> None:
    # In "hh", the prompt, 104 was there twice. The differences of log-probabilities between two
    # tokens are those of their logits.
    everything = 256
    bench = make_bench().run_all(
        ask("hh", 1, logprobs=everything, sampling=Sampling()),
        ask("hh", 1, logprobs=everything, penalties=penalties),
    )
    plain, moved = ({other.id: other.logprob for other in bench.logprobs(i)[0].top} for i in (0, 1))
    others = [token for token in plain if token != ord("h") and token in moved]
    shift = moved[others[0]] - plain[others[0]]
    for token in others:
        assert moved[token] - plain[token] == pytest.approx(shift, abs=1e-3)
    change = moved[ord("h")] - plain[ord("h")] - shift
    if penalties.repetition_penalty:
        assert change < 0
    else:
        assert change == pytest.approx(moved_by(0.0), abs=1e-3)


def test_different_requests_in_one_batch_get_what_each_gets_alone(
    make_bench: MakeBench, alone: Alone
) -> None:
    requests = [
        ask("plain", 25),
        ask("biased a little longer", 25, logit_bias={65: 4.0, 66: 4.0}),
        ask("p", 25, penalties=Penalties(repetition_penalty=1.4, repetition_context_size=8)),
        ask("hot", 25, sampling=Sampling(temperature=1.0, xtc_probability=0.5), seed=3),
        ask("told", 25, logprobs=2),
    ]
    bench = make_bench().run_all(*requests)
    for request_id, request in enumerate(requests):
        assert bench.text(request_id) == alone(request)
