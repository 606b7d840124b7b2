"""Turns a GGUF file's metadata into config.json, and its tensor names into MLX's.

Sources: llama.cpp's convert_hf_to_gguf.py for the meaning of keys and tensors, and the model
classes of mlx_lm for what they become.
"""

import math
from collections.abc import Iterator

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET, UnsetType

from mlxd.errors import InvalidRequest
from mlxd.gguf.blocks import LAYOUTS, type_name
from mlxd.gguf.container import Container, GGUFTensor
from mlxd.gguf.metadata import Metadata


class _Family(msgspec.Struct, frozen=True):
    """How architectures differ; `model_type` and `class_name` are those of config.json."""

    model_type: str
    class_name: str
    permuted: bool = False  # query and key rows are in the order of interleaved rope
    biases: bool = False  # on query, key and value
    head_norms: bool = False  # on queries and keys


_LLAMA = _Family("llama", "LlamaForCausalLM", permuted=True)
_FAMILIES = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _Family("qwen2", "Qwen2ForCausalLM", biases=True),
    "qwen3": _Family("qwen3", "Qwen3ForCausalLM", head_norms=True),
}

_EMBEDDING, _HEAD, _ROPE_DIVISORS = "token_embd.weight", "output.weight", "rope_freqs.weight"
_LLAMA3_LOW, _LLAMA3_HIGH, _LLAMA3_CONTEXT = 1.0, 4.0, 8192


class RopeScaling(msgspec.Struct, kw_only=True):
    """The `rope_scaling` of Hugging Face configurations."""

    rope_type: str
    factor: float
    original_max_position_embeddings: int | UnsetType = UNSET
    low_freq_factor: float | UnsetType = UNSET
    high_freq_factor: float | UnsetType = UNSET


class ImportedConfig(msgspec.Struct, kw_only=True):
    """The config.json of the model, with the keys that mlx_lm and transformers read.

    In `quantization`, a layer's path maps to how it differs from the rest.
    """

    architectures: list[str]
    model_type: str
    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    vocab_size: int
    max_position_embeddings: int
    rope_theta: float
    rope_traditional: bool | UnsetType = UNSET
    rope_scaling: RopeScaling | UnsetType = UNSET
    tie_word_embeddings: bool
    torch_dtype: str | UnsetType = UNSET
    bos_token_id: int | UnsetType = UNSET
    eos_token_id: list[int] | UnsetType = UNSET
    quantization: dict[str, object] | UnsetType = UNSET


class Weight(msgspec.Struct, frozen=True):
    """A tensor of the file, its path in the model, and its kind: `weight` or `bias`."""

    tensor: GGUFTensor
    path: str
    kind: str


class Architecture(msgspec.Struct, frozen=True):
    """What the file becomes: config.json, and every tensor of the model."""

    config: ImportedConfig
    weights: list[Weight]


def read_architecture(container: Container) -> Architecture:
    """Return the architecture of a file.

    Raises:
        InvalidRequest: its architecture, rope scaling, a tensor or a tensor type cannot be
            imported, or keys or tensors are missing.
    """
    metadata = Metadata(container.metadata)
    name = metadata.get("general.architecture", str, "")
    family = _FAMILIES.get(name)
    if family is None:
        raise InvalidRequest(
            f"the architecture {name!r} cannot be imported; these can: {', '.join(_FAMILIES)}"
        )
    if metadata.count("split.count", 1) > 1:
        raise InvalidRequest("the file is one part of several: merge them with gguf-split first")
    config = _config(container, metadata.under(f"{name}."), family)
    return Architecture(config, _weights(container, config, family))


def _config(container: Container, metadata: Metadata, family: _Family) -> ImportedConfig:
    if metadata.count("expert_count", 0):
        raise metadata.refuse("expert_count", "no mixture of experts")
    embedding = container.tensors.get(_EMBEDDING)
    if embedding is None:
        raise InvalidRequest(f"the file lacks the tensor {_EMBEDDING}")
    width = metadata.count("embedding_length")
    heads = metadata.count("attention.head_count")
    if heads == 0:
        raise metadata.refuse("attention.head_count", "one or more")
    head_dim = metadata.count("attention.key_length", width // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        if metadata.count(key, head_dim) != head_dim:
            raise metadata.refuse(key, f"the width of a head, {head_dim},")
    if family.model_type == "qwen2" and head_dim * heads != width:
        raise metadata.refuse("attention.key_length", f"{width} / {heads}")
    rope_theta = metadata.get("rope.freq_base", float, 10000.0)
    scaling = _rope_scaling(container, metadata, head_dim, rope_theta)
    return ImportedConfig(
        architectures=[family.class_name],
        model_type=family.model_type,
        hidden_size=width,
        num_hidden_layers=metadata.count("block_count"),
        intermediate_size=metadata.count("feed_forward_length"),
        num_attention_heads=heads,
        num_key_value_heads=metadata.count("attention.head_count_kv", heads),
        head_dim=head_dim,
        rms_norm_eps=metadata.get("attention.layer_norm_rms_epsilon", float),
        vocab_size=embedding.shape[0],
        max_position_embeddings=metadata.count("context_length"),
        rope_theta=rope_theta,
        rope_traditional=True if family.permuted else UNSET,
        rope_scaling=scaling or UNSET,
        tie_word_embeddings=_HEAD not in container.tensors,
    )


def _rope_scaling(
    container: Container, metadata: Metadata, head_dim: int, base: float
) -> RopeScaling | None:
    kind = metadata.get("rope.scaling.type", str, "none")
    divisors = container.tensors.get(_ROPE_DIVISORS)
    if divisors is not None and kind == "none":
        return _llama3_scaling(container, divisors, head_dim, base)
    if divisors is not None or kind not in ("none", "linear", "yarn"):
        raise metadata.refuse("rope.scaling.type", f"none, linear, yarn, or {_ROPE_DIVISORS} alone")
    if kind == "none":
        return None
    scaling = RopeScaling(rope_type=kind, factor=metadata.get("rope.scaling.factor", float))
    if kind == "yarn":
        scaling.original_max_position_embeddings = metadata.count(
            "rope.scaling.original_context_length"
        )
    return scaling


def _llama3_scaling(
    container: Container, divisors: GGUFTensor, head_dim: int, base: float
) -> RopeScaling:
    """Return the parameters that the divisors in Llama 3.1 and 3.2 files were computed from."""
    if divisors.type != 0 or divisors.shape != (head_dim // 2,):
        raise InvalidRequest(f"{_ROPE_DIVISORS} is not {head_dim // 2} numbers of type F32")
    stored = container.blocks(divisors).view(np.float32)[:, 0]
    factor = float(stored.max())
    if not np.allclose(stored, _llama3_divisors(factor, head_dim, base), rtol=1e-4):
        raise InvalidRequest(f"{_ROPE_DIVISORS} is not the rope scaling of Llama 3")
    return RopeScaling(
        rope_type="llama3",
        factor=factor,
        low_freq_factor=_LLAMA3_LOW,
        high_freq_factor=_LLAMA3_HIGH,
        original_max_position_embeddings=_LLAMA3_CONTEXT,
    )


def _llama3_divisors(factor: float, head_dim: int, base: float) -> npt.NDArray[np.float64]:
    """Return `factor` for long waves, 1 for short ones, and a value between for the others."""
    wavelengths = 2 * math.pi * base ** (np.arange(0, head_dim, 2) / head_dim)
    turns = _LLAMA3_CONTEXT / wavelengths
    share = np.clip((turns - _LLAMA3_LOW) / (_LLAMA3_HIGH - _LLAMA3_LOW), 0, 1)
    divisors: npt.NDArray[np.float64] = 1 / ((1 - share) / factor + share)
    return divisors


def _weights(container: Container, config: ImportedConfig, family: _Family) -> list[Weight]:
    unclaimed = dict(container.tensors)
    if family.permuted:
        unclaimed.pop(_ROPE_DIVISORS, None)
    weights = []
    for name, path, shape in _expected(config, family):
        kind = name.rpartition(".")[2]
        tensor = unclaimed.pop(name, None)
        if tensor is None:
            raise InvalidRequest(f"the file lacks the tensor {name}")
        if tensor.shape != shape:
            raise InvalidRequest(
                f"{name} has the shape {list(tensor.shape)}; the metadata makes it {list(shape)}"
            )
        if tensor.type not in LAYOUTS:
            works = ", ".join(layout.name for layout in LAYOUTS.values())
            raise InvalidRequest(
                f"{name} is of type {type_name(tensor.type)}, which cannot be imported; "
                f"these can: {works}"
            )
        weights.append(Weight(tensor, path, kind))
    if unclaimed:
        raise InvalidRequest(
            f"{config.model_type} models have no tensor {min(unclaimed)}: a variant of the "
            "architecture that cannot be imported"
        )
    return weights


def _expected(
    config: ImportedConfig, family: _Family
) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield each tensor's name in the file, path in the model and shape, rows first."""
    width, inner = config.hidden_size, config.intermediate_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    yield _EMBEDDING, "model.embed_tokens", (config.vocab_size, width)
    yield "output_norm.weight", "model.norm", (width,)
    if not config.tie_word_embeddings:
        yield _HEAD, "lm_head", (config.vocab_size, width)
    for layer in range(config.num_hidden_layers):
        block, path = f"blk.{layer}.", f"model.layers.{layer}."
        yield f"{block}attn_norm.weight", f"{path}input_layernorm", (width,)
        yield f"{block}ffn_norm.weight", f"{path}post_attention_layernorm", (width,)
        yield f"{block}attn_output.weight", f"{path}self_attn.o_proj", (width, queries)
        yield f"{block}ffn_gate.weight", f"{path}mlp.gate_proj", (inner, width)
        yield f"{block}ffn_up.weight", f"{path}mlp.up_proj", (inner, width)
        yield f"{block}ffn_down.weight", f"{path}mlp.down_proj", (width, inner)
        for letter, rows in (("q", queries), ("k", keys), ("v", keys)):
            name, projection = f"{block}attn_{letter}", f"{path}self_attn.{letter}_proj"
            yield f"{name}.weight", projection, (rows, width)
            if family.biases:
                yield f"{name}.bias", projection, (rows,)
        if family.head_norms:
            for letter in "qk":
                norm = f"{path}self_attn.{letter}_norm"
                yield f"{block}attn_{letter}_norm.weight", norm, (config.head_dim,)
