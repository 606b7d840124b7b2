"""How a batch chooses its tokens."""

import mlx.core as mx
import pytest

from mlxd.engine.sampling import Row, RowGroups, seed_word
from mlxd.generate_request import Sampling

LOGITS = mx.array([[0.0, 3.0, 2.9, -1.0], [5.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 9.0]])


def choose(samplings: list[Sampling], position: int, seed: int = 1) -> list[int]:
    groups = RowGroups([Row(sampling, seed_word(seed)) for sampling in samplings])
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
def test_top_k_top_p_and_min_p_leave_out_unlikely_tokens(sampling: Sampling) -> None:
    drawn = {choose([sampling] * 3, position)[0] for position in range(100)}
    assert drawn == {1, 2}


@pytest.mark.parametrize("top_p", [1e-300, 1e-8, 1e-4])
def test_the_likeliest_token_always_stays(top_p: float) -> None:
    many = mx.random.normal((1, 100_000), key=mx.random.key(1))
    row = Row(Sampling(temperature=2.0, top_p=top_p), seed=1)
    assert RowGroups([row]).sample(many, [0]).item() == mx.argmax(many).item()


def test_the_draws_follow_the_probabilities() -> None:
    wide = mx.broadcast_to(LOGITS[:1], (4000, 4))
    samplers = [Row(Sampling(temperature=1.0), seed) for seed in range(4000)]
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


@pytest.mark.parametrize(("probability", "leaders"), [(1.0, 0), (0.5, 1)])
def test_xtc_leaves_out_all_likely_tokens_but_the_least_of_them(
    probability: float, leaders: int
) -> None:
    exclude = Sampling(temperature=0.01, xtc_probability=probability, xtc_threshold=0.2)
    drawn = {choose([exclude] * 3, position)[0] for position in range(40)}
    assert drawn == ({2} if leaders == 0 else {1, 2})


def test_xtc_draws_for_each_row_alone() -> None:
    exclude = Sampling(temperature=0.01, xtc_probability=0.5, xtc_threshold=0.2)
    rows = [Row(exclude, seed) for seed in range(40)]
    chosen = RowGroups(rows).sample(mx.broadcast_to(LOGITS[:1], (40, 4)), [0] * 40).tolist()
    assert set(chosen) == {1, 2}
    assert chosen == [
        RowGroups([row]).sample(LOGITS[:1], [0]).tolist()[0]  # type: ignore[index]
        for row in rows
    ]


def test_xtc_keeps_the_tokens_it_is_told_to_keep() -> None:
    exclude = Sampling(temperature=0.01, xtc_probability=1.0, xtc_threshold=0.2)
    groups = RowGroups([Row(exclude, 0, kept_by_xtc=(1,))])
    assert groups.sample(LOGITS[:1], [0]).tolist() == [1]
