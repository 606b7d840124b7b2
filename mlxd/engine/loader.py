"""Load a model folder: weights, tokenizer, and what the scheduler needs to know of them."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm import utils
from mlx_lm.models.cache import make_prompt_cache

from mlxd.engine.cache_layers import Blocks, Cache, merge
from mlxd.engine.load_faults import faults_explained
from mlxd.engine.quantized_cache import CacheQuantization
from mlxd.engine.tokenizer_loader import load_tokenizer
from mlxd.errors import LoadFailed
from mlxd.messages import Load

_IMPORTED, _WEIGHTS = 0.05, 0.9
"""The shares of a load that the imports and the weights take."""
_GENERATION_CONFIG = "generation_config.json"
_PARTS = 100
_SMALLEST_PART_BYTES = 16 * 1024 * 1024
_CONTEXT_KEYS = (
    "max_position_embeddings",
    "model_max_length",
    "max_seq_len",
    "n_ctx",
    "seq_length",
)

BATCH_FAULTS = (AttributeError, LookupError, NotImplementedError, TypeError, ValueError)
"""What mlx-lm's models raise if they cannot compute several sequences together."""
_WRONG_IN_BATCHES = frozenset({"afm7", "minimax_m3_vl", "phi3small"})
"""Architectures whose answers in a batch are not those alone, as of mlx-lm 0.32.2.

The layers of afm7 that reuse keys take the padding of a row for tokens; minimax_m3_vl counts tokens
from the beginning of the batch; phi3small takes sequences for heads when there are as many of them.
"""


@dataclass(frozen=True)
class LoadedModel:
    """A model from `folder`, ready to run.

    `context_length` is in tokens, 0 if its config does not say; `vocabulary` is the width of its
    logits, which may be more than the number of the tokenizer's tokens. mlx-lm's
    `make_prompt_cache` makes caches as `quantization` says, if there is one.
    """

    model: Any
    tokenizer: Any
    context_length: int
    vocabulary: int
    quantization: CacheQuantization | None = None
    folder: Path = Path()

    def new_cache(self, tokens: int = 0) -> Cache:
        """Return an empty cache for a prompt of `tokens` tokens."""
        if self.quantization is not None:
            return self.quantization.new_cache(tokens)
        cache: Cache = make_prompt_cache(self.model)
        return cache

    def convert(self, blocks: Blocks, tokens: int) -> Blocks:
        """Return keys and values in the form of `new_cache(tokens)`."""
        return self.quantization.convert(blocks, tokens) if self.quantization else blocks


def load_model(load: Load, report: Callable[[float], None]) -> LoadedModel:
    """Load what `load` names, calling `report` with the fraction of the work that is done.

    Raises:
        LoadFailed: the folder holds no model that this engine can serve, the adapter does not
            fit it, or there is not enough memory.
    """
    trusted = load.trust_remote_code
    report(_IMPORTED)
    with (
        faults_explained(),
        readable(Path(load.path)) as path,
        ThreadPoolExecutor(1) as beside,
    ):
        model, config = utils.load_model(path, lazy=True, trust_remote_code=trusted)
        # A large vocabulary takes as long to load as the weights, and uses no MLX.
        loading = beside.submit(load_tokenizer, path, config, trusted=trusted)
        if load.adapter_path is not None:
            subject = f"adapter {Path(load.adapter_path).name} does not fit this model: "
            with faults_explained(subject):
                model = utils.load_adapters(model, load.adapter_path)
            model.eval()
        quantization = _quantize_cache(model, load) if load.kv_bits else None
        for fraction in materialize(model):
            report(_IMPORTED + _WEIGHTS * fraction)
        tokenizer = loading.result()
    report(1.0)
    vocabulary = _positive(config, "vocab_size") or len(tokenizer)
    context_length = _positive(config, *_CONTEXT_KEYS)
    folder = Path(load.path)
    return LoadedModel(model, tokenizer, context_length, vocabulary, quantization, folder)


def _quantize_cache(model: Any, load: Load) -> CacheQuantization | None:
    """Have mlx-lm make quantized caches for the model; where that is impossible, say why."""
    try:
        quantization = CacheQuantization(
            model, load.kv_bits, load.kv_group_size, load.quantized_kv_start
        )
    except LoadFailed as error:
        print(f"kv_bits = {load.kv_bits} has no effect: {error.message}", flush=True)  # noqa: T201
        return None
    model.make_cache = quantization.new_cache
    return quantization


def can_be_batched(model: Any) -> bool:
    """Return whether a model can compute several sequences together.

    What it would compute for two is put together, but not computed, so this takes no time.
    """
    if getattr(model, "model_type", None) in _WRONG_IN_BATCHES:
        return False
    caches = [make_prompt_cache(model), make_prompt_cache(model)]
    if not all(hasattr(layer, "merge") for cache in caches for layer in cache):
        return False
    try:
        for cache, length in zip(caches, (3, 2), strict=True):
            model(mx.zeros((1, length), mx.uint32), cache=cache)
        batch = merge(caches)
        model(mx.zeros((2, 1), mx.uint32), cache=batch)
        model(mx.zeros((2, 1), mx.uint32), cache=batch)
    except BATCH_FAULTS:
        return False
    return True


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """Yield a model's folder, or its like without a generation_config.json that makes no sense.

    mlx_lm reads the tokens that end an answer from that file, and stumbles over most such files.
    """
    file = path / _GENERATION_CONFIG
    if not file.exists() or _names_ends(file):
        yield path
        return
    with TemporaryDirectory(prefix="mlxd") as folder:
        for other in path.iterdir():
            if other.name != _GENERATION_CONFIG:
                (Path(folder) / other.name).symlink_to(other.absolute())
        yield Path(folder)


def _names_ends(file: Path) -> bool:
    """Return whether a file is a JSON object whose `eos_token_id`, if any, is one or several."""
    try:
        config = json.loads(file.read_bytes())
    except (ValueError, OSError, RecursionError):
        return False
    if not isinstance(config, dict):
        return False
    ends = config.get("eos_token_id")
    return all(isinstance(end, int) for end in (ends if isinstance(ends, list) else [ends or 0]))


def materialize(model: Any) -> Iterator[float]:
    """Read the lazily loaded weights, and yield the fraction done after each part.

    There are up to a hundred parts, of 16 MB at least.
    """
    parameters = [array for _, array in tree_flatten(model.parameters())]
    total = sum(array.nbytes for array in parameters) or 1
    part_bytes = max(_SMALLEST_PART_BYTES, total // _PARTS)
    done = pending_bytes = 0
    pending: list[mx.array] = []
    for array in parameters:
        pending.append(array)
        pending_bytes += array.nbytes
        if pending_bytes >= part_bytes:
            mx.eval(pending)
            done += pending_bytes
            pending, pending_bytes = [], 0
            yield done / total
    mx.eval(pending)
    yield 1.0


def _positive(config: dict[str, Any], *keys: str) -> int:
    """Return the first of the numbers that a model's config has, 0 if it has none."""
    for section in (config, config.get("text_config") or {}):
        for key in keys:
            if isinstance(value := section.get(key), int) and value > 0:
                return value
    return 0
