"""A model folder in memory: weights, tokenizer, and what the scheduler needs to know of them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm import utils
from mlx_lm.models.cache import make_prompt_cache

from mlxd.messages import Load

_EVAL_BYTES = 256 * 1024 * 1024
_CONTEXT_KEYS = (
    "max_position_embeddings",
    "model_max_length",
    "max_seq_len",
    "n_ctx",
    "seq_length",
)


class ModelUnusable(Exception):
    """The folder cannot be served as it is; the message says why."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run.

    `context_length` is in tokens, 0 when its config does not say; `vocabulary` is the width of its
    logits, which may be more than the tokenizer has tokens.
    """

    model: Any
    tokenizer: Any
    context_length: int
    vocabulary: int


def load_model(load: Load, report: Callable[[float], None]) -> LoadedModel:
    """Load what `load` names, calling `report` with the fraction of the weights that are in memory.

    Raises:
        ModelUnusable: when the folder holds no model that this engine can serve, or the adapter is
            none for it.
    """
    model, tokenizer, config = _read(Path(load.path), trust_remote_code=load.trust_remote_code)
    if load.adapter_path is not None:
        model = _adapt(model, load.adapter_path)
    if not all(hasattr(cache, "merge") for cache in make_prompt_cache(model)):
        raise ModelUnusable("its cache cannot be batched, which this version needs")
    for fraction in _materialize(model):
        report(fraction)
    return LoadedModel(model, tokenizer, _context_length(config), _vocabulary(config, tokenizer))


def load_draft(path: Path, tokenizer: Any) -> Any:
    """Load a model that is to guess what the model of `tokenizer` says.

    Raises:
        ModelUnusable: the folder holds no model, or one with other tokens.
    """
    draft, draft_tokenizer, _ = _read(path, trust_remote_code=False)
    if draft_tokenizer.get_vocab() != tokenizer.get_vocab():
        raise ModelUnusable(f"{path.name} has other tokens than the model it is to draft for")
    mx.eval(draft.parameters())
    return draft


def _read(path: Path, *, trust_remote_code: bool) -> tuple[Any, Any, dict[str, Any]]:
    """Give model, tokenizer and config of a folder; the weights come into memory when used."""
    try:
        model, config = utils.load_model(path, lazy=True, trust_remote_code=trust_remote_code)
        tokenizer = utils.load_tokenizer(
            path,
            {"trust_remote_code": trust_remote_code},
            eos_token_ids=config.get("eos_token_id"),
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        raise ModelUnusable(_one_line(error)) from error
    return model, tokenizer, config


def _adapt(model: Any, adapter_path: str) -> Any:
    """Put LoRA weights on a model, as mlx_lm wrote them."""
    try:
        adapted = utils.load_adapters(model, adapter_path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        name = Path(adapter_path).name
        raise ModelUnusable(f"the adapter {name} is none for it: {_one_line(error)}") from error
    adapted.eval()
    return adapted


def memory_bytes() -> int:
    """What MLX holds in this process, its free buffers included."""
    return int(mx.get_active_memory() + mx.get_cache_memory())


def _materialize(model: Any) -> Iterator[float]:
    """Bring the lazily loaded weights into memory, giving the fraction done after each part."""
    parameters = [array for _, array in tree_flatten(model.parameters())]
    total = sum(array.nbytes for array in parameters) or 1
    done = pending_bytes = 0
    pending: list[mx.array] = []
    for array in parameters:
        pending.append(array)
        pending_bytes += array.nbytes
        if pending_bytes >= _EVAL_BYTES:
            mx.eval(pending)
            done += pending_bytes
            pending, pending_bytes = [], 0
            yield done / total
    mx.eval(pending)
    yield 1.0


def _context_length(config: dict[str, Any]) -> int:
    for section in (config, config.get("text_config") or {}):
        for key in _CONTEXT_KEYS:
            if isinstance(value := section.get(key), int) and value > 0:
                return value
    return 0


def _vocabulary(config: dict[str, Any], tokenizer: Any) -> int:
    for section in (config, config.get("text_config") or {}):
        if isinstance(value := section.get("vocab_size"), int) and value > 0:
            return value
    return len(tokenizer)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (
        text[:500]
        if isinstance(error, ValueError | OSError)
        else f"{type(error).__name__}: {text[:500]}"
    )
