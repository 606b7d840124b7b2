"""What the cache of a sequence takes, as far as the model's config.json tells.

A layer that the configuration does not describe counts as one that keeps all tokens, so estimates
are rather too large. Once a model is in memory, its engine knows better.
"""

from bisect import bisect
from itertools import cycle, islice
from typing import Any

import msgspec

from mlxd.models.config_values import count, first, first_list, sections

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers")
_SHARING_LAYERS = ("num_kv_shared_layers", "num_kv_reuse_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "num_query_heads")
_KV_HEADS = (
    "num_key_value_heads",
    "num_kv_heads",
    "n_kv_heads",
    "multi_query_group_num",
    "num_attention_groups",
)
_WIDTH = ("hidden_size", "n_embd", "d_model", "dim", "model_dim")
_HEAD_DIM = ("head_dim", "kv_channels", "hidden_size_per_head")
_TYPE = ("torch_dtype", "dtype")
_WINDOW = (
    "sliding_window",
    "sliding_window_size",
    "attention_window_size",
    "window_size",
    "attention_chunk_size",
)
_LAYER_TYPES = ("layer_types", "layers_block_type", "block_types", "hybrid_override_pattern")
_CHUNKS_PATTERN = 4
"""In Llama 4, one layer in this many keeps all tokens."""
# These models compress keys and values, but cache them expanded.
_EXPANDED = ("deepseek_v2", "minicpm3", "youtu_llm")
_MAX_LAYERS = 10_000
_MAX_BYTES = 2**50
_STATE_NUMBER_BYTES = 4
_SMALLEST_GROUP = 32
"""Fewer values than that cannot share the scale of a quantized cache."""

_ALL, _LAST, _STATE = "all tokens", "the last tokens", "a state"
"""What a layer keeps."""

_SMALLEST_WORKSPACE, _LARGEST_WORKSPACE = 8_000_000, 2_000_000_000
_SHORTEST_CONTEXT = 1024
_SHARE_OF_WORKSPACE = 4
"""What an engine leaves for a step, as `mlxd.engine.memory` does; a test compares the two."""


class CacheLayout(msgspec.Struct, frozen=True):
    """How many bytes the cache of a sequence takes; `layers` is 0 if that is unknown.

    A token takes `token_bytes` in the layers that keep all tokens, and `window_bytes` in those that
    keep the last `window`. `fixed_bytes` do not depend on the length. `layers` is how many there
    are. `value_bytes` is the size of a key's or value's number, and `head_dim` how many such
    numbers a head has.
    """

    token_bytes: int = 0
    window_bytes: int = 0
    window: int = 0
    fixed_bytes: int = 0
    layers: int = 0
    value_bytes: int = 2
    head_dim: int = 0

    def of_tokens(self, tokens: int) -> int:
        """Return the bytes of a cache of `tokens` tokens."""
        windows = self.window_bytes * min(tokens, self.window)
        return self.fixed_bytes + windows + self.token_bytes * tokens

    def quantized(self, bits: int, group_size: int) -> "CacheLayout":
        """Return the same with caches of `bits` bits a value; windows stay as they are."""
        if self.head_dim % _SMALLEST_GROUP:
            return self
        group = group_size if self.head_dim % group_size == 0 else _SMALLEST_GROUP
        plain = 8 * self.value_bytes
        each = bits + 2 * plain / group  # with a scale and a bias for each group
        return msgspec.structs.replace(self, token_bytes=round(self.token_bytes * each / plain))

    def longest(self, room: int, most: int) -> int | None:
        """Return how many tokens, up to `most`, fit into `room` bytes beside what a step needs.

        A layer is there twice while a sequence joins a batch. An engine lets a short conversation
        run in any case. None if the layout is unknown.
        """
        if not self.layers:
            return None
        if room < 0:
            return 0
        workspace = max(_SMALLEST_WORKSPACE, room // _SHARE_OF_WORKSPACE)
        left = room - min(workspace, _LARGEST_WORKSPACE)

        def exceeds(tokens: int) -> bool:
            once = self.of_tokens(tokens)
            return once + once // self.layers > left

        return max(bisect(range(1, most + 1), False, key=exceeds), min(most, _SHORTEST_CONTEXT))


def read_layout(config: dict[str, Any]) -> CacheLayout:
    """Read the layout from the content of a config.json.

    A number has the type of the activations: 4 bytes in float32 models, else 2.
    """
    layers = _layer_count(config, _LAYERS)
    heads = first(config, _HEADS)
    width = first(config, _WIDTH)
    head_dim = first(config, _HEAD_DIM) or (width // heads if width and heads else None)
    kv_heads = first(config, _KV_HEADS) or heads
    latent = _latent(config, heads or 0, head_dim or 0)
    if layers is None or (latent is None and (head_dim is None or kv_heads is None)):
        return CacheLayout()
    numbers = latent or 2 * (kv_heads or 0) * (head_dim or 0)
    global_dim, global_heads = (
        first(config, (key,)) for key in ("global_head_dim", "num_global_key_value_heads")
    )
    everywhere = 2 * (global_heads or kv_heads or 0) * global_dim if global_dim else numbers
    types = [section.get(key) for section in sections(config) for key in _TYPE]
    value_bytes = 4 if "float32" in types else 2
    kinds = _kinds(config, layers)
    layout = CacheLayout(
        token_bytes=kinds.count(_ALL) * everywhere * value_bytes,
        window_bytes=kinds.count(_LAST) * numbers * value_bytes,
        window=first(config, _WINDOW) or 0,
        fixed_bytes=kinds.count(_STATE) * _state_bytes(config),
        layers=len(kinds),
        value_bytes=value_bytes,
        head_dim=(first(config, ("qk_rope_head_dim",)) if latent else global_dim or head_dim) or 0,
    )
    return layout if layout.of_tokens(1) < _MAX_BYTES else CacheLayout()


def _layer_count(config: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    found = first(config, keys)
    return found if found is not None and found <= _MAX_LAYERS else None


def _kinds(config: dict[str, Any], layers: int) -> list[str]:
    """Return what each layer keeps that has a cache of its own."""
    own = layers - (first(config, _SHARING_LAYERS) or 0)
    kinds = _described_kinds(config, layers) or [_ALL]
    if first(config, _WINDOW) is None:
        kinds = [_ALL if kind == _LAST else kind for kind in kinds]
    return list(islice(cycle(kinds), max(own, 1)))


def _described_kinds(config: dict[str, Any], layers: int) -> list[str]:
    """Return what the layers keep, in a pattern that repeats itself; [] if nothing says so."""
    kinds = [_kind(each) for each in first_list(config, _LAYER_TYPES)]
    if set(kinds) - {_STATE}:
        return kinds
    if letters := first_list(config, ("sliding_window_pattern",)):
        return [_LAST if letter == "L" else _ALL for letter in letters]
    if first(config, ("state_size",)):
        return [_STATE]  # of a model without attention
    if linear := _linear_layers(config):
        return [_STATE] * linear + [_ALL] * (layers - linear)
    intervals = ("attn_layer_period", "full_attention_interval", "layer_group_size")
    if period := _layer_count(config, intervals):
        return [_STATE] * (period - 1) + [_ALL]
    pattern = _layer_count(config, ("sliding_window_pattern",))
    if first(config, ("attention_chunk_size",)):
        pattern = pattern or _CHUNKS_PATTERN
    return [_LAST] * (pattern - 1) + [_ALL] if pattern else []


def _kind(layer_type: object) -> str:
    """Return what a layer of a type keeps; the types have a name or, in Nemotron H, a letter."""
    name = str(layer_type)
    if name == "*":
        return _ALL
    if "attention" not in name or "linear" in name:
        return _STATE
    return _LAST if "sliding" in name or "chunked" in name or name == "attention_window" else _ALL


def _linear_layers(config: dict[str, Any]) -> int:
    """Return how many layers of Kimi Linear have linear attention."""
    for section in sections(config):
        linear = section.get("linear_attn_config")
        if isinstance(linear, dict) and isinstance(linear.get("kda_layers"), list):
            return len(linear["kda_layers"])
    return 0


def _state_bytes(config: dict[str, Any]) -> int:
    """Return about how many bytes a layer takes that keeps a state; 0 if that is unknown."""
    shapes = (
        ("linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim"),
        ("mamba_n_heads", "mamba_d_head", "mamba_d_state"),
        ("mamba_num_heads", "mamba_head_dim", "ssm_state_size"),
    )
    for shape in shapes:
        heads, rows, columns = (first(config, (key,)) for key in shape)
        if heads and rows and columns:
            return heads * rows * columns * _STATE_NUMBER_BYTES
    return 0


def _latent(config: dict[str, Any], heads: int, head_dim: int) -> int | None:
    """Return how many numbers multi-head latent attention caches per token; None without it."""
    rank, rope = (first(config, (key,)) for key in ("kv_lora_rank", "qk_rope_head_dim"))
    if rank is None or rope is None:
        return None
    if config.get("model_type") in _EXPANDED:
        key = first(config, ("qk_nope_head_dim",)) or 0
        value = first(config, ("v_head_dim",)) or head_dim
        return heads * (key + rope + value)
    indexer = count(config.get("index_head_dim")) or 0  # of sparse attention: keys and values
    return rank + rope + 2 * indexer
