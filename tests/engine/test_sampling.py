"""How a batch chooses its tokens."""

import mlx.core as mx
import pytest

from mlxd.engine.sampling import RowGroups, make_row_sampler
from mlxd.messages import Sampling

LOGITS = mx.array([[0.0, 3.0, 2.9, -1.0], [5.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 9.0]])


def choose(samplings: list[Sampling], position: int, seed: int = 1) -> list[int]:
    groups = RowGroups([make_row_sampler(sampling, seed) for sampling in samplings])
    chosen: list[int] = groups.sample(LOGITS, [position] * len(samplings)).tolist()
    return chosen


def test_temperature_zero_takes_the_likeliest() -> None:
    assert choose([Sampling()] * 3, 0) == [1, 0, 3]


def test_rows_with_other_parameters_get_their_own_tokens_back() -> None:
    mixed = [Sampling(temperature=1.0, top_k=1), Sampling(), Sampling(temperature=2.0, top_k=1)]
    assert choose(mixed, 0) == [1, 0, 3]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=5.0, top_k=2),
        Sampling(temperature=5.0, top_p=0.9),
        Sampling(temperature=5.0, min_p=0.5),
    ],
)
def test_top_k_top_p_and_min_p_leave_out_the_unlikely(sampling: Sampling) -> None:
    drawn = {choose([sampling] * 3, position)[0] for position in range(100)}
    assert drawn == {1, 2}


def test_the_draws_follow_the_probabilities() -> None:
    wide = mx.broadcast_to(LOGITS[:1], (4000, 4))
    samplers = [make_row_sampler(Sampling(temperature=1.0), seed) for seed in range(4000)]
    drawn = RowGroups(samplers).sample(wide, [0] * 4000)
    expected = mx.softmax(LOGITS[0])
    for token in range(4):
        share = mx.mean(drawn == token).item()
        assert share == pytest.approx(expected[token].item(), abs=0.04)


def test_a_seed_fixes_the_draw_at_each_position() -> None:
    hot = [Sampling(temperature=3.0)] * 3
    first = [choose(hot, position) for position in range(20)]
    assert first == [choose(hot, position) for position in range(20)]
    assert first != [choose(hot, position, seed=2) for position in range(20)]


def test_top_k_beyond_the_vocabulary_is_off() -> None:
    assert choose([Sampling(temperature=1e-3, top_k=1000)] * 3, 0) == [1, 0, 3]
