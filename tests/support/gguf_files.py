"""Small GGUF files, written with the `gguf` package: llama.cpp's own writer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as TensorType
from mlx.utils import tree_flatten
from mlx_lm.models import gemma3_text, llama, qwen2, qwen3

DATA = Path(__file__).parent / "data"

_MODULES = {
    "llama": llama,
    "mistral": llama,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "gemma3": gemma3_text,
}
_CONFIG: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 256,
    "rope_theta": 10000.0,
}
_GEMMA3_CONFIG: dict[str, Any] = {
    "query_pre_attn_scalar": 16,
    "sliding_window": 3,
    "sliding_window_pattern": 2,
    "rope_theta": 100000.0,
    "rope_local_base_freq": 1000.0,
}
_KEYS = {
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.dimension_count": "head_dim",
    "context_length": "max_position_embeddings",
    "rope.freq_base": "rope_theta",
}
_GEMMA3_KEYS = _KEYS | {
    "attention.sliding_window": "sliding_window",
    "attention.sliding_window_pattern": "sliding_window_pattern",
    "rope.freq_base_swa": "rope_local_base_freq",
}
_NAMES = {
    "model.layers.": "blk.",
    "_proj.": ".",
    "self_attn.o.": "attn_output.",
    "self_attn.": "attn_",
    "mlp.": "ffn_",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
_GEMMA3_NAMES = _NAMES | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def vocabulary(kind: str) -> dict[str, list]:
    """Return the small vocabulary `byte_level` or `sentence_piece`."""
    return json.loads((DATA / "vocabularies.json").read_text(encoding="utf-8"))[kind]


def byte_level_metadata(pre: str, vocabulary: Mapping[str, list]) -> dict[str, object]:
    """Return the tokenizer keys of a byte-level vocabulary with the pre-tokenizer `pre`."""
    tokens = vocabulary["tokens"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": vocabulary["token_type"],
        "tokenizer.ggml.merges": vocabulary["merges"],
        "tokenizer.ggml.bos_token_id": tokens.index("<|endoftext|>"),
        "tokenizer.ggml.eos_token_id": tokens.index("<|im_end|>"),
    }


def sentence_piece_metadata(
    vocabulary: Mapping[str, list], *, add_space_prefix: bool
) -> dict[str, object]:
    """Return the tokenizer keys of a SentencePiece vocabulary."""
    tokens = vocabulary["tokens"]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": vocabulary["token_type"],
        "tokenizer.ggml.scores": vocabulary["scores"],
        "tokenizer.ggml.bos_token_id": tokens.index("<s>"),
        "tokenizer.ggml.eos_token_id": tokens.index("</s>"),
        "tokenizer.ggml.unknown_token_id": tokens.index("<unk>"),
        "tokenizer.ggml.add_space_prefix": add_space_prefix,
    }


def random_model(architecture: str, *, tied: bool = True, **config: object) -> nn.Module:
    """Return a model of two layers with random weights; `config` overrides `ModelArgs`."""
    module = _MODULES[architecture]
    vocab_size = len(vocabulary("byte_level")["tokens"])
    arguments = _CONFIG | {"vocab_size": vocab_size, "tie_word_embeddings": tied}
    arguments |= (_GEMMA3_CONFIG if architecture == "gemma3" else {}) | config
    model = module.Model(
        module.ModelArgs.from_dict({"model_type": module.__name__.rpartition(".")[2]} | arguments)
    )
    if architecture == "gemma3" and tied:
        model.sanitize({})  # which ties the embeddings
    mx.random.seed(0)
    model.load_weights(
        [
            (path, mx.random.normal(array.shape) * 0.2 + ("norm" in path))
            for path, array in tree_flatten(model.parameters())
        ]
    )
    return model


def write_model(
    path: Path,
    architecture: str,
    model: nn.Module | None = None,
    *,
    tokenizer: Mapping[str, object] | None = None,
    changes: Mapping[str, object] | None = None,
    extra: Mapping[str, npt.NDArray[np.float32]] | None = None,
    tensor_type: TensorType = TensorType.F32,
) -> Path:
    """Write a model, by default `random_model`, as llama.cpp's converter does, and return `path`.

    `changes` overrides metadata, None removes a key; `extra` adds tensors; `tensor_type` is that of
    the matrices.
    """
    model = model or random_model(architecture)
    metadata: dict[str, object] = {
        f"{architecture}.{key}": getattr(model.args, ours, _CONFIG.get(ours))
        for key, ours in (_GEMMA3_KEYS if architecture == "gemma3" else _KEYS).items()
    }
    metadata |= tokenizer or byte_level_metadata("qwen2", vocabulary("byte_level"))
    metadata |= changes or {}
    writer = gguf.GGUFWriter(path, str(metadata.pop("general.architecture", architecture)))
    for key, value in metadata.items():
        _add(writer, key, value)
    tensors = _tensors(model, architecture) | dict(extra or {})
    for name, array in tensors.items():
        kind = tensor_type if array.ndim > 1 else TensorType.F32
        writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_vocabulary(path: Path, tokenizer: Mapping[str, object]) -> Path:
    """Write a file without weights, which llama.cpp can tokenize with, and return `path`."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in tokenizer.items():
        _add(writer, key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(model: nn.Module, architecture: str) -> dict[str, npt.NDArray[np.float32]]:
    permuted = architecture in ("llama", "mistral")
    names = _GEMMA3_NAMES if architecture == "gemma3" else _NAMES
    tensors = {}
    for path, array in tree_flatten(model.parameters()):
        name, values = path, np.array(array, np.float32)
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        if architecture == "gemma3" and name.endswith("norm.weight"):
            values = values + 1
        if permuted and ".attn_q." in name:
            values = _interleaved(values, model.args.num_attention_heads)
        if permuted and ".attn_k." in name:
            values = _interleaved(values, model.args.num_key_value_heads)
        tensors[name] = values
    return tensors


def _interleaved(rows: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Interleave the two halves of each head's rows, for rope over neighboring pairs."""
    halves = rows.reshape(heads, 2, -1, rows.shape[-1])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _add(writer: gguf.GGUFWriter, key: str, value: object) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif value is not None:
        writer.add_string(key, str(value))
