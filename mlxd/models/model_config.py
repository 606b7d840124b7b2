"""What a model's config.json says, under the names that mlx_lm's models know."""

from collections.abc import Iterator
from typing import Any

import msgspec

_MAX_COUNT = 2**53
_TEXT_SECTIONS = ("text_config", "llm_config", "language_config")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "num_query_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "multi_query_group_num")
_WIDTH = ("hidden_size", "n_embd", "d_model", "dim", "model_dim")
_HEAD_DIM = ("head_dim", "kv_channels")
_CONTEXT = (
    "max_position_embeddings",
    "model_max_length",
    "max_seq_len",
    "max_sequence_length",
    "n_positions",
    "n_ctx",
    "seq_length",
)
_TYPE = ("torch_dtype", "dtype")
# Of the models that compress keys and values, these keep them expanded in the cache.
_EXPANDED = ("deepseek_v2", "minicpm3")


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What counts of a config.json; None, "" and 0 stand for what it does not say sensibly.

    `context_length` is in tokens, `token_bytes` about the size of a token's keys and values in the
    cache. `own_code` says that the folder brings the Python code of its model, `quant_method` by
    what other program than MLX its weights were quantised.
    """

    architecture: str
    own_code: bool
    quantization: str | None
    quant_method: str | None
    context_length: int | None
    token_bytes: int

    def cache_bytes(self, tokens: int) -> int:
        """Give about what the cache of a conversation of `tokens` takes, or of the longest one."""
        return min(self.context_length or tokens, tokens) * self.token_bytes


def read_config(config: dict[str, Any]) -> ModelConfig:
    """Read the content of a config.json; what describes the text part of a model counts too."""
    architecture = config.get("model_type")
    return ModelConfig(
        architecture=architecture if isinstance(architecture, str) else "",
        own_code=isinstance(config.get("model_file"), str),
        quantization=_quantization(config),
        quant_method=_quant_method(config),
        context_length=_first(config, _CONTEXT),
        token_bytes=_token_bytes(config),
    )


def _token_bytes(config: dict[str, Any]) -> int:
    """Give the size of a token's keys and values; layers that keep fewer count as if they did not.

    The elements have the type of the activations: 4 bytes for float32 models, else 2.
    """
    layers = _first(config, _LAYERS)
    heads = _first(config, _HEADS)
    if layers is None:
        return 0
    if (elements := _latent_elements(config, heads or 0)) is None:
        width = _first(config, _WIDTH)
        head_dim = _first(config, _HEAD_DIM) or (width // heads if width and heads else None)
        kv_heads = _first(config, _KV_HEADS) or heads
        if head_dim is None or kv_heads is None:
            return 0
        elements = 2 * kv_heads * head_dim
    types = [section.get(key) for section in _sections(config) for key in _TYPE]
    return layers * elements * (4 if "float32" in types else 2)


def _latent_elements(config: dict[str, Any], heads: int) -> int | None:
    """Give how many numbers multi-head latent attention keeps of a token; None without it."""
    rank, rope = (_first(config, (key,)) for key in ("kv_lora_rank", "qk_rope_head_dim"))
    if rank is None or rope is None:
        return None
    if config.get("model_type") not in _EXPANDED:
        return rank + rope
    key, value = (_first(config, (key,)) or 0 for key in ("qk_nope_head_dim", "v_head_dim"))
    return heads * (key + rope + value)


def _quantization(config: dict[str, Any]) -> str | None:
    """Give "4-bit", "4/8-bit" where layers differ, or the name of another format of numbers."""
    for section in _sections(config):
        for key in ("quantization", "quantization_config"):
            if isinstance(quantization := section.get(key), dict):
                return _formats(quantization)
    return None


def _quant_method(config: dict[str, Any]) -> str | None:
    if "quantization" in config:
        return None
    says = config.get("quantization_config")
    method = says.get("quant_method") if isinstance(says, dict) else None
    return method if isinstance(method, str) else None


def _formats(quantization: dict[str, Any]) -> str | None:
    layers = [value for value in quantization.values() if isinstance(value, dict)]
    formats = list(dict.fromkeys(filter(None, map(_format, (quantization, *layers)))))
    if not formats:
        method = quantization.get("quant_method")
        return method if isinstance(method, str) and method.isprintable() else None
    *most, last = formats
    return "/".join([*(name.removesuffix("-bit") for name in most), last])


def _format(quantization: dict[str, Any]) -> str | None:
    mode = quantization.get("mode", "affine")
    if mode != "affine":
        return mode if isinstance(mode, str) and mode.isprintable() else None
    bits = _count(quantization.get("bits"))
    return None if bits is None else f"{bits}-bit"


def _first(config: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    """Give the first sensible number under one of `keys`."""
    counts = (_count(section.get(key)) for section in _sections(config) for key in keys)
    return next((count for count in counts if count is not None), None)


def _sections(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield config
    for name in _TEXT_SECTIONS:
        if isinstance(section := config.get(name), dict):
            yield section


def _count(value: object) -> int | None:
    """Give a number that may be a count; of a number for each layer, the largest."""
    if isinstance(value, list):
        return max(filter(None, map(_count, value)), default=None)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _MAX_COUNT:
        return int(value)
    return None
