"""Quantized caches: in a batch they hold what mlx-lm's own hold alone, in half the memory."""

import copy
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models import gpt_oss, llama, mamba
from mlx_lm.models.cache import (
    ArraysCache,
    CacheList,
    KVCache,
    QuantizedKVCache,
    make_prompt_cache,
)

from mlxd.engine.cache_layers import CacheSnapshot, restore
from mlxd.engine.loader import LoadedModel, load_model
from mlxd.engine.memory import CacheSize
from mlxd.engine.quantized_cache import (
    BatchQuantizedKVCache,
    CacheFormat,
    CacheQuantization,
    MergeableQuantizedKVCache,
)
from mlxd.errors import LoadFailed
from mlxd.messages import Load
from tests.support.scheduler_bench import Bench, ask

PROMPTS = [[5, 9, 3, 77, 12, 8, 20, 41], [9, 8, 7], [1, 2, 3, 4, 5, 6]]
TOKENS = 12
HEADS, DIMENSION = 2, 64

Cache = list[Any]


def llama_of(head_dim: int) -> Any:
    """Make a random llama whose four heads share two pairs of keys and values."""
    mx.random.seed(1)
    return llama.Model(
        llama.ModelArgs(
            model_type="llama",
            hidden_size=64,
            num_hidden_layers=2,
            intermediate_size=64,
            num_attention_heads=4,
            num_key_value_heads=HEADS,
            head_dim=head_dim,
            rms_norm_eps=1e-5,
            vocab_size=100,
        )
    )


@pytest.fixture(scope="module")
def model() -> Any:
    return llama_of(DIMENSION)


def batch_of(quantization: CacheQuantization, count: int) -> Cache:
    caches = [quantization.new_cache() for _ in range(count)]
    return [first.merge([first, *others]) for first, *others in zip(*caches, strict=True)]


def read(model: Any, batch: Cache, prompts: list[list[int]]) -> mx.array:
    """Process the prompts but for their last tokens, which are returned."""
    lengths = [len(prompt) - 1 for prompt in prompts]
    padding = [max(lengths) - length for length in lengths]
    for layer in batch:
        layer.prepare(lengths=lengths, right_padding=padding)
    padded = [prompt[:-1] + [0] * more for prompt, more in zip(prompts, padding, strict=True)]
    model(mx.array(padded), cache=batch)
    for layer in batch:
        layer.finalize()
    return mx.array([prompt[-1] for prompt in prompts])


def decode(model: Any, cache: Cache, last: mx.array, count: int) -> tuple[mx.array, list[Any]]:
    """Return the last tokens, and the tokens chosen in each step."""
    steps = []
    for _ in range(count):
        last = model(last[:, None], cache=cache)[:, -1].argmax(axis=-1)
        steps.append(last.tolist())
    return last, steps


def alone(model: Any, prompt: list[int], bits: int) -> list[int]:
    """Return what the model answers with mlx-lm's own quantized cache."""
    cache = [QuantizedKVCache(group_size=64, bits=bits) for _ in model.layers]
    model(mx.array([prompt[:-1]]), cache=cache)
    _, steps = decode(model, cache, mx.array(prompt[-1:]), TOKENS)
    return [token for (token,) in steps]


@pytest.mark.parametrize("bits", [4, 8])
def test_a_batch_answers_as_mlx_lm_does_alone(model: Any, bits: int) -> None:
    expected = [alone(model, prompt, bits) for prompt in PROMPTS]
    quantization = CacheQuantization(model, bits, 64)
    batch = batch_of(quantization, 2)
    last, before = decode(model, batch, read(model, batch, PROMPTS[:2]), 5)

    joining = batch_of(quantization, 1)
    third = read(model, joining, PROMPTS[2:])
    for layer, other in zip(batch, joining, strict=True):
        layer.extend(other)
    last, together = decode(model, batch, mx.concatenate([last, third]), 4)

    for layer in batch:
        layer.filter([1, 2])
    _, after = decode(model, batch, last[1:], 3)

    first, second, *_ = zip(*before, strict=True)
    assert [*first, *(step[0] for step in together)] == expected[0][:9]
    assert [*second, *(step[1] for step in together), *(step[0] for step in after)] == expected[1]
    assert [*(step[2] for step in together), *(step[1] for step in after)] == expected[2][:7]


def filled(tokens: int, bits: int = 8) -> MergeableQuantizedKVCache:
    """Make the cache of one sequence, with keys and values of its own."""
    cache = MergeableQuantizedKVCache(CacheFormat(bits, 64))
    if tokens:
        cache.update_and_fetch(*mx.random.normal((2, 1, HEADS, tokens, DIMENSION)))
    return cache


def content(cache: MergeableQuantizedKVCache) -> list[Any]:
    if cache.empty():
        return []
    return [array[..., : cache.offset, :].tolist() for array in (*cache.keys, *cache.values)]


LENGTHS = [300, 1, 0, 7]


def test_a_batch_gives_back_the_sequences_it_was_merged_of() -> None:
    caches = [filled(tokens) for tokens in LENGTHS]
    batch = MergeableQuantizedKVCache.merge(caches)
    assert batch.size() == 300
    assert batch.left_padding.tolist() == [0, 299, 300, 293]
    assert batch.offset.tolist() == LENGTHS
    for row, cache in enumerate(caches):
        assert batch.extract(row).offset == cache.offset
        if cache.offset:
            assert content(batch.extract(row)) == content(cache)


@pytest.mark.parametrize("split", [1, 2, 3])
def test_extending_a_batch_is_merging_all(split: int) -> None:
    caches = [filled(tokens) for tokens in LENGTHS]
    merge = MergeableQuantizedKVCache.merge
    batch = merge(caches[:split])
    batch.extend(merge(caches[split:]))
    assert batch.offset.tolist() == LENGTHS
    for row in (0, 1, 3):
        assert content(batch.extract(row)) == content(caches[row])


def test_empty_batches_are_extended() -> None:
    batch, other = (MergeableQuantizedKVCache.merge([filled(0), filled(0)]) for _ in range(2))
    batch.extend(other)
    assert batch.empty()
    assert batch.nbytes == 0
    assert batch.offset.tolist() == [0, 0, 0, 0]


def test_filtering_drops_the_padding_that_no_row_needs() -> None:
    caches = [filled(tokens) for tokens in LENGTHS]
    batch = MergeableQuantizedKVCache.merge(caches)
    before = batch.nbytes
    batch.filter([1, 3])
    assert batch.size() == 7
    assert batch.nbytes < before / 2
    assert [content(batch.extract(row)) for row in (0, 1)] == [
        content(caches[1]),
        content(caches[3]),
    ]


def test_what_is_trimmed_is_written_again() -> None:
    cache, other = filled(20), filled(20)
    keys, values = mx.random.normal((2, 1, HEADS, 5, DIMENSION))
    assert cache.is_trimmable()
    assert cache.trim(15) == 15
    cache.update_and_fetch(keys, values)
    assert cache.size() == 10
    batch = MergeableQuantizedKVCache.merge([cache, other])
    assert batch.trim(2) == 2
    assert batch.offset.tolist() == [8, 18]


@pytest.mark.parametrize(("bits", "share"), [(8, 0.53), (4, 0.28)])
def test_a_batch_takes_about_half_the_memory(bits: int, share: float) -> None:
    keys = mx.random.normal((1, HEADS, 512, DIMENSION)).astype(mx.bfloat16)
    plain, quantized = KVCache(), MergeableQuantizedKVCache(CacheFormat(bits, 64))
    for cache in (plain, quantized):
        cache.update_and_fetch(keys, keys)
    batches = [cache.merge([cache] * 4) for cache in (plain, quantized)]
    assert isinstance(batches[1], BatchQuantizedKVCache)
    assert batches[1].nbytes / batches[0].nbytes == pytest.approx(share, abs=0.01)


def test_few_tokens_are_multiplied_as_they_are_and_many_in_full_precision() -> None:
    cache = filled(100)
    assert not hasattr(cache, "bits")
    assert cache.keys_and_values()[0].shape == (1, HEADS, 100, DIMENSION)
    keys, values = cache.update_and_fetch(*mx.random.normal((2, 1, HEADS, 1, DIMENSION)))
    assert (cache.bits, cache.group_size) == (8, 64)
    assert [len(keys), len(values)] == [3, 3]


@pytest.mark.parametrize(("head_dim", "group_size"), [(64, 64), (128, 64), (96, 32)])
def test_groups_are_as_large_as_they_may_be(head_dim: int, group_size: int) -> None:
    quantization = CacheQuantization(llama_of(head_dim), 8, 64)
    assert quantization.formats == [CacheFormat(8, group_size)] * 2


def test_heads_too_small_for_a_group_cannot_be_quantized() -> None:
    with pytest.raises(LoadFailed, match="heads of 16 values"):
        CacheQuantization(llama_of(16), 8, 64)


def test_a_model_without_keys_and_values_cannot_be_quantized() -> None:
    states = mamba.Model(
        mamba.ModelArgs(
            "mamba", 100, 64, 64, 16, 4, 1, use_bias=False, use_conv_bias=True, time_step_rank=4
        )
    )
    with pytest.raises(LoadFailed, match="no layer of this model keeps"):
        CacheQuantization(states, 8, 64)


def test_attention_with_sinks_gets_full_precision() -> None:
    """mlx-lm's attention refuses sinks beside quantized arrays."""
    mx.random.seed(1)
    model = gpt_oss.Model(
        gpt_oss.ModelArgs(
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=2,
            num_local_experts=2,
            num_experts_per_tok=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            vocab_size=100,
            sliding_window=8,
        )
    )
    quantization = CacheQuantization(model, 8, 64)
    window, complete = quantization.formats
    assert window is None
    assert complete == CacheFormat(8, 64, products=False)
    batch = batch_of(quantization, 2)
    last = read(model, batch, PROMPTS[:2])
    plain = make_prompt_cache(model)
    model(mx.array([PROMPTS[0][:-1]]), cache=plain)
    expected = model(last[:1, None], cache=plain)[0, -1]
    assert mx.abs(model(last[:, None], cache=batch)[0, -1] - expected).max() < 0.01


def test_a_sequence_is_quantized_once_it_is_long_enough(model: Any) -> None:
    quantization = CacheQuantization(model, 4, 64, start=10)
    short = quantization.new_cache()
    assert [type(layer) for layer in short] == [KVCache, KVCache]
    assert [type(layer) for layer in quantization.new_cache(10)] == [MergeableQuantizedKVCache] * 2
    model(mx.array(PROMPTS[:1]), cache=short)
    long = quantization.quantize(short)
    for layer, plain in zip(long, short, strict=True):
        expected = plain.to_quantized(group_size=64, bits=4)
        assert layer.offset == len(PROMPTS[0])
        assert mx.array_equal(layer.keys[0], expected.keys[0][..., : layer.offset, :])


def test_a_sequence_takes_over_what_a_longer_or_a_shorter_one_kept(model: Any) -> None:
    quantization = CacheQuantization(model, 8, 64, start=10)
    short, long = quantization.new_cache(), quantization.new_cache(10)
    for cache in (short, long):
        model(mx.array(PROMPTS[:1]), cache=cache)
    (expected,) = model(mx.array([[7]]), cache=copy.deepcopy(short))[:, -1]
    for kept, tokens in ((short, 10), (long, 9), (long, 10)):
        blocks = quantization.convert(CacheSnapshot(kept).cut(0, 8), tokens)
        cache = restore(quantization.new_cache(tokens), [blocks], 8, [])
        (logits,) = model(mx.array([[7]]), cache=cache)[:, -1]
        assert mx.abs(logits - expected).max() < 0.05


def test_a_layer_with_several_caches_is_quantized_inside(model: Any) -> None:
    class Hybrid:
        """A llama whose layers have a state beside their keys and values."""

        def make_cache(self) -> Cache:
            return [CacheList(ArraysCache(1), KVCache()) for _ in model.layers]

        def __call__(self, tokens: mx.array, cache: Cache) -> Any:
            return model(tokens, cache=[layer[1] for layer in cache])

    (layer, _) = CacheQuantization(Hybrid(), 8, 64).new_cache()
    assert [type(each) for each in layer.caches] == [ArraysCache, MergeableQuantizedKVCache]


@pytest.fixture(scope="module", params=[4, 8])
def quantized(request: pytest.FixtureRequest, tiny_model: Path) -> LoadedModel:
    return load_model(Load(str(tiny_model), kv_bits=request.param), lambda _: None)


def test_requests_are_answered_together_as_alone(quantized: LoadedModel) -> None:
    requests = [ask("x" * length, 20) for length in (3, 40, 17)]
    together = Bench(quantized).run_all(*requests)
    for number, request in enumerate(requests):
        assert together.text(number) == Bench(quantized).run_all(request).text(0)


def test_a_second_turn_is_computed_from_the_quantized_first(quantized: LoadedModel) -> None:
    bench = Bench(quantized, prompt_cache_bytes=10_000_000)
    bench.run_all(ask("turn one", 8))
    second = "turn one" + bench.text(0) + "turn two"
    bench.admit(1, ask(second, 8))
    bench.run()
    assert bench.finished(1).usage.cached_tokens > len("turn one")
    assert bench.text(1) == Bench(quantized).run_all(ask(second, 8)).text(0)


def test_what_a_sequence_takes_is_counted(quantized: LoadedModel, loaded: LoadedModel) -> None:
    sizes = [CacheSize.of(each.model).of_tokens(1000) for each in (quantized, loaded)]
    assert sizes[0] < sizes[1] / 3  # the model computes in float32
