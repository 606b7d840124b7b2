"""Load a model folder: weights, tokenizer, and what the scheduler needs to know of them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm import utils
from mlx_lm.models.cache import make_prompt_cache

from mlxd.messages import Load

_IMPORTED, _WEIGHTS = 0.05, 0.9
"""The shares of a load that the imports and the weights take."""
_PARTS = 100
_SMALLEST_PART_BYTES = 16 * 1024 * 1024
_CONTEXT_KEYS = (
    "max_position_embeddings",
    "model_max_length",
    "max_seq_len",
    "n_ctx",
    "seq_length",
)


class ModelUnusable(Exception):
    """The model cannot be used; the message says why."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run.

    `context_length` is in tokens, 0 if its config does not say; `vocabulary` is the width of its
    logits, which may be more than the number of the tokenizer's tokens.
    """

    model: Any
    tokenizer: Any
    context_length: int
    vocabulary: int


def load_model(load: Load, report: Callable[[float], None]) -> LoadedModel:
    """Load what `load` names, calling `report` with the fraction of the work that is done.

    Raises:
        ModelUnusable: the folder holds no model that this engine can serve, the adapter does not
            fit it, or there is not enough memory.
    """
    path = Path(load.path)
    report(_IMPORTED)
    model, config = _read_model(path, trust_remote_code=load.trust_remote_code)
    with ThreadPoolExecutor(1) as beside:
        # A large vocabulary takes as long to load as the weights, and uses no MLX.
        tokenizer = beside.submit(_read_tokenizer, path, config, load.trust_remote_code)
        if load.adapter_path is not None:
            model = _adapt(model, load.adapter_path)
        if not all(hasattr(cache, "merge") for cache in make_prompt_cache(model)):
            raise ModelUnusable("the cache of this architecture does not support batching")
        for fraction in _materialize(model):
            report(_IMPORTED + _WEIGHTS * fraction)
    vocabulary = _positive(config, "vocab_size") or len(tokenizer.result())
    report(1.0)
    context_length = _positive(config, *_CONTEXT_KEYS)
    return LoadedModel(model, tokenizer.result(), context_length, vocabulary)


def load_draft(path: Path, tokenizer: Any) -> Any:
    """Load a draft model for the model that has `tokenizer`.

    Raises:
        ModelUnusable: the folder holds no model, or one with a different vocabulary.
    """
    draft, config = _read_model(path, trust_remote_code=False)
    draft_tokenizer = _read_tokenizer(path, config, trust_remote_code=False)
    if draft_tokenizer.get_vocab() != tokenizer.get_vocab():
        raise ModelUnusable(
            f"{path.name} cannot be the draft model: its vocabulary differs from the model's"
        )
    with _faults_explained():
        mx.eval(draft.parameters())
    return draft


@contextmanager
def _faults_explained(subject: str = "") -> Iterator[None]:
    """Raise ModelUnusable for what mlx_lm and MLX raise about files, prefixed by `subject`."""
    try:
        yield
    except MemoryError as error:
        raise ModelUnusable(f"{subject}not enough memory to load it") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelUnusable(subject + _one_line(error)) from error


def _read_model(path: Path, *, trust_remote_code: bool) -> tuple[Any, dict[str, Any]]:
    """Return the model and config of a folder; the weights are read when they are used."""
    with _faults_explained():
        model, config = utils.load_model(path, lazy=True, trust_remote_code=trust_remote_code)
    return model, config


def _read_tokenizer(path: Path, config: dict[str, Any], trust_remote_code: bool) -> Any:
    """Return mlx_lm's TokenizerWrapper for a folder; without MLX, so for any thread."""
    with _faults_explained():
        return utils.load_tokenizer(
            path,
            {"trust_remote_code": trust_remote_code},
            eos_token_ids=config.get("eos_token_id"),
        )


def _adapt(model: Any, adapter_path: str) -> Any:
    """Apply LoRA weights to a model, as mlx_lm writes them."""
    with _faults_explained(f"adapter {Path(adapter_path).name} does not fit this model: "):
        adapted = utils.load_adapters(model, adapter_path)
    adapted.eval()
    return adapted


def _materialize(model: Any) -> Iterator[float]:
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
            with _faults_explained():
                mx.eval(pending)
            done += pending_bytes
            pending, pending_bytes = [], 0
            yield done / total
    with _faults_explained():
        mx.eval(pending)
    yield 1.0


def _positive(config: dict[str, Any], *keys: str) -> int:
    """Return the first of the numbers that a model's config has, 0 if it has none."""
    for section in (config, config.get("text_config") or {}):
        for key in keys:
            if isinstance(value := section.get(key), int) and value > 0:
                return value
    return 0


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {text}"
