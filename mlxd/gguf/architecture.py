"""Turns a GGUF file's metadata into config.json, and its tensor names into MLX's.

Sources: llama.cpp's convert_hf_to_gguf.py for the meaning of keys and tensors, and the model
classes of mlx_lm for what they become.
"""

import math
from collections.abc import Iterator
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, ReaderTensor
from msgspec import field

from mlxd.errors import InvalidRequest
from mlxd.gguf.blocks import TYPES, shape_of
from mlxd.gguf.reader import Count, GGUFFile, read_keys, unsupported


class _Family(msgspec.Struct, frozen=True):
    """How architectures differ; `model_type` is that of config.json."""

    model_type: str
    interleaved_rope: bool = False  # on neighboring elements, not on the two halves of a head
    biases: bool = False  # on query, key and value
    head_norms: bool = False  # on queries and keys
    gemma: bool = False  # sliding windows, more norms, and norm weights with 1 added


_LLAMA = _Family("llama", interleaved_rope=True)
_FAMILIES = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _Family("qwen2", biases=True),
    "qwen3": _Family("qwen3", head_norms=True),
    "gemma3": _Family("gemma3_text", head_norms=True, gemma=True),
}

_EMBEDDING, _HEAD, _ROPE_DIVISORS = "token_embd.weight", "output.weight", "rope_freqs.weight"
_LLAMA3_LOW, _LLAMA3_HIGH, _LLAMA3_CONTEXT = 1.0, 4.0, 8192
_GEMMA3_27B_LAYERS = 62


class _ModelKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys under the architecture's name, such as `llama.block_count`."""

    width: Count = field(name="embedding_length")
    layers: Count = field(name="block_count")
    inner_width: Count = field(name="feed_forward_length")
    context: Count = field(name="context_length")
    heads: Count = field(name="attention.head_count")
    kv_heads: Count | None = field(name="attention.head_count_kv", default=None)
    key_length: Count | None = field(name="attention.key_length", default=None)
    norm_epsilon: float = field(name="attention.layer_norm_rms_epsilon")
    rope_dim: Count | None = field(name="rope.dimension_count", default=None)
    rope_theta: float = field(name="rope.freq_base", default=10000.0)
    scaling: str = field(name="rope.scaling.type", default="none")
    scaling_factor: float = field(name="rope.scaling.factor", default=1.0)
    scaling_context: Count | None = field(name="rope.scaling.original_context_length", default=None)
    experts: int = field(name="expert_count", default=0)

    @property
    def head_dim(self) -> int:
        return self.key_length or self.width // self.heads


class _GemmaKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys that only Gemma has. The defaults are those of llama.cpp."""

    window: int = field(name="attention.sliding_window", default=0)
    pattern: Count = field(name="attention.sliding_window_pattern", default=6)
    local_rope_theta: float = field(name="rope.freq_base_swa", default=10000.0)
    softcapping: float = field(name="final_logit_softcapping", default=0.0)


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """What the file becomes: config.json, and the model's weights by name, as the file has them.

    The file has `norm_shift` added to the weights of the norms. `exceeds_float16`: the values
    between the layers do not fit into that type.
    """

    model_type: str
    vocab_size: int
    config: dict[str, object]
    weights: dict[str, ReaderTensor]
    norm_shift: int
    exceeds_float16: bool


def read_architecture(file: GGUFFile) -> Architecture:
    """Return the architecture of a file.

    Raises:
        InvalidRequest: its architecture, a variant of it, a tensor or a tensor type cannot be
            imported, or keys or tensors are missing.
    """
    name = str(file.metadata.get("general.architecture", ""))
    family = _FAMILIES.get(name)
    if family is None:
        raise InvalidRequest(
            f"the architecture {name!r:.60} cannot be imported; these can: {', '.join(_FAMILIES)}"
        )
    if file.metadata.get("split.count", 1) not in (0, 1):
        raise InvalidRequest("the file is one part of several: merge them with gguf-split first")
    prefix = f"{name}."
    keys = read_keys(file.metadata, prefix, _ModelKeys)
    if keys.experts:
        raise unsupported(f"{prefix}expert_count", keys.experts, "no mixture of experts")
    if keys.rope_dim not in (None, keys.head_dim):
        only = f"the width of a head, {keys.head_dim},"
        raise unsupported(f"{prefix}rope.dimension_count", keys.rope_dim, only)
    embedding = file.tensors.get(_EMBEDDING)
    if embedding is None or embedding.shape.size != 2:
        raise InvalidRequest(f"the file lacks the matrix {_EMBEDDING}")
    vocab_size, tied = shape_of(embedding)[0], _HEAD not in file.tensors
    config = {
        "architectures": [f"{family.model_type.removesuffix('_text').capitalize()}ForCausalLM"],
        "model_type": family.model_type,
        "hidden_size": keys.width,
        "num_hidden_layers": keys.layers,
        "intermediate_size": keys.inner_width,
        "num_attention_heads": keys.heads,
        "num_key_value_heads": keys.kv_heads or keys.heads,
        "head_dim": keys.head_dim,
        "rms_norm_eps": keys.norm_epsilon,
        "vocab_size": vocab_size,
        "max_position_embeddings": keys.context,
        "rope_theta": keys.rope_theta,
        "tie_word_embeddings": tied,
    }
    if family.interleaved_rope:
        config["rope_traditional"] = True
    if scaling := _rope_scaling(file, keys, prefix):
        config["rope_scaling"] = scaling
    if family.gemma:
        config |= _gemma_config(file, keys, prefix)
    weights = _weights(file, _expected(keys, family, vocab_size, tied=tied), family)
    return Architecture(
        model_type=family.model_type,
        vocab_size=vocab_size,
        config=config,
        weights=weights,
        norm_shift=1 if family.gemma else 0,
        exceeds_float16=family.gemma,
    )


def _gemma_config(file: GGUFFile, keys: _ModelKeys, prefix: str) -> dict[str, object]:
    """Return the keys of config.json that only Gemma has."""
    gemma = read_keys(file.metadata, prefix, _GemmaKeys)
    if gemma.window < 1:  # without windows llama.cpp runs another model
        only = "a window of at least 1 token"
        raise unsupported(f"{prefix}attention.sliding_window", gemma.window, only)
    if gemma.softcapping:
        raise unsupported(f"{prefix}final_logit_softcapping", gemma.softcapping, "no softcapping")
    if keys.scaling not in ("none", "linear"):
        raise unsupported(f"{prefix}rope.scaling.type", keys.scaling, "none or linear")
    if keys.layers < gemma.pattern:  # mlx_lm needs a layer without a window
        raise unsupported(f"{prefix}block_count", keys.layers, f"{gemma.pattern} or more")
    # The file does not say how queries are scaled; like llama.cpp, go by the number of layers.
    is_27b = keys.layers == _GEMMA3_27B_LAYERS
    return {
        "query_pre_attn_scalar": keys.width // keys.heads if is_27b else keys.head_dim,
        "sliding_window": gemma.window,
        "sliding_window_pattern": gemma.pattern,
        "rope_local_base_freq": gemma.local_rope_theta,
    }


def _rope_scaling(file: GGUFFile, keys: _ModelKeys, prefix: str) -> dict[str, object] | None:
    """Return the `rope_scaling` of config.json, if there is one."""
    divisors = file.tensors.get(_ROPE_DIVISORS)
    if divisors is not None and keys.scaling == "none":
        return _llama3_scaling(divisors, keys.head_dim, keys.rope_theta)
    if divisors is not None or keys.scaling not in ("none", "linear", "yarn"):
        only = f"none, linear, yarn, or {_ROPE_DIVISORS} alone"
        raise unsupported(f"{prefix}rope.scaling.type", keys.scaling, only)
    if keys.scaling == "none":
        return None
    scaling: dict[str, object] = {"rope_type": keys.scaling, "factor": keys.scaling_factor}
    if keys.scaling == "yarn":
        scaling["original_max_position_embeddings"] = keys.scaling_context or keys.context
    return scaling


def _llama3_scaling(divisors: ReaderTensor, head_dim: int, base: float) -> dict[str, object]:
    """Return the parameters that the divisors in Llama 3.1 and 3.2 files were computed from."""
    is_f32 = divisors.tensor_type == GGMLQuantizationType.F32
    if not is_f32 or shape_of(divisors) != (head_dim // 2,):
        raise InvalidRequest(f"{_ROPE_DIVISORS} is not {head_dim // 2} numbers of type F32")
    factor = float(divisors.data.max())
    if not np.allclose(divisors.data, _llama3_divisors(factor, head_dim, base), rtol=1e-4):
        raise InvalidRequest(f"{_ROPE_DIVISORS} is not the rope scaling of Llama 3")
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": _LLAMA3_LOW,
        "high_freq_factor": _LLAMA3_HIGH,
        "original_max_position_embeddings": _LLAMA3_CONTEXT,
    }


def _llama3_divisors(factor: float, head_dim: int, base: float) -> npt.NDArray[np.float64]:
    """Return `factor` for long waves, 1 for short ones, and a value between for the others."""
    wavelengths = 2 * math.pi * base ** (np.arange(0, head_dim, 2) / head_dim)
    turns = _LLAMA3_CONTEXT / wavelengths
    share = np.clip((turns - _LLAMA3_LOW) / (_LLAMA3_HIGH - _LLAMA3_LOW), 0, 1)
    divisors: npt.NDArray[np.float64] = 1 / ((1 - share) / factor + share)
    return divisors


_Expected: TypeAlias = Iterator[tuple[str, str, tuple[int, ...]]]


def _weights(file: GGUFFile, expected: _Expected, family: _Family) -> dict[str, ReaderTensor]:
    unclaimed = dict(file.tensors)
    if family.interleaved_rope:
        unclaimed.pop(_ROPE_DIVISORS, None)
    weights = {}
    for name, path, shape in expected:
        tensor = unclaimed.pop(name, None)
        if tensor is None:
            raise InvalidRequest(f"the file lacks the tensor {name}")
        if shape_of(tensor) != shape:
            raise InvalidRequest(
                f"{name} has the shape {list(shape_of(tensor))}; "
                f"the metadata makes it {list(shape)}"
            )
        if tensor.tensor_type not in TYPES:
            raise InvalidRequest(
                f"{name} is of type {tensor.tensor_type.name}, which cannot be imported; "
                f"these can: {', '.join(kind.name for kind in TYPES)}"
            )
        weights[path] = tensor
    if unclaimed:
        raise InvalidRequest(
            f"{family.model_type} models have no tensor {min(unclaimed)!r:.60}: a variant of the "
            "architecture that cannot be imported"
        )
    return weights


def _expected(keys: _ModelKeys, family: _Family, vocab_size: int, *, tied: bool) -> _Expected:
    """Yield each tensor's name in the file, name in the model and shape, rows first."""
    width, inner, head_dim = keys.width, keys.inner_width, keys.head_dim
    queries, pairs = head_dim * keys.heads, head_dim * (keys.kv_heads or keys.heads)
    yield _EMBEDDING, "model.embed_tokens.weight", (vocab_size, width)
    yield "output_norm.weight", "model.norm.weight", (width,)
    if not tied:
        yield _HEAD, "lm_head.weight", (vocab_size, width)
    norms = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    if family.gemma:
        norms |= {
            "post_attention_norm": "post_attention_layernorm",
            "ffn_norm": "pre_feedforward_layernorm",
            "post_ffw_norm": "post_feedforward_layernorm",
        }
    layer = [
        *((f"{name}.weight", f"{path}.weight", (width,)) for name, path in norms.items()),
        ("attn_output.weight", "self_attn.o_proj.weight", (width, queries)),
        ("ffn_gate.weight", "mlp.gate_proj.weight", (inner, width)),
        ("ffn_up.weight", "mlp.up_proj.weight", (inner, width)),
        ("ffn_down.weight", "mlp.down_proj.weight", (width, inner)),
    ]
    for letter, rows in (("q", queries), ("k", pairs), ("v", pairs)):
        projection = f"self_attn.{letter}_proj"
        layer.append((f"attn_{letter}.weight", f"{projection}.weight", (rows, width)))
        if family.biases:
            layer.append((f"attn_{letter}.bias", f"{projection}.bias", (rows,)))
    if family.head_norms:
        layer.append(("attn_q_norm.weight", "self_attn.q_norm.weight", (head_dim,)))
        layer.append(("attn_k_norm.weight", "self_attn.k_norm.weight", (head_dim,)))
    for index in range(keys.layers):
        for name, path, shape in layer:
            yield f"blk.{index}.{name}", f"model.layers.{index}.{path}", shape
