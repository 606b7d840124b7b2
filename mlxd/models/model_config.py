"""What a model's config.json says, under any of the names that mlx_lm's models use.

It also says whether mlx_lm can run the model, without importing mlx_lm.
"""

import importlib.util
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from mlxd.files import open_regular, out_of_files
from mlxd.models.cache_layout import CacheLayout, read_layout
from mlxd.models.config_values import count, first, sections

# The names in mlx_lm.utils.MODEL_REMAPPING; a test compares the two.
OTHER_NAMES = frozenset(
    {
        "deepseek_v41_text",
        "falcon_mamba",
        "gemma4_unified",
        "iquestcoder",
        "joyai_llm_flash",
        "kimi_k2",
        "llava",
        "minimax_m2",
        "mistral",
        "phi-msft",
        "qwen2_5_vl",
        "xverse",
    }
)
# Architectures that mlx_lm cannot compute several sequences of at a time; a test compares them with
# what the engine finds out.
UNBATCHED = frozenset(
    {
        "afm7",
        "deepseek_v41",
        "deepseek_v41_text",
        "gpt_bigcode",
        "llama4",
        "longcat_flash_ngram",
        "minimax_m3_vl",
        "phi3small",
    }
)
# Quantization methods whose packed weights mlx_lm would read as plain ones.
_FOREIGN_METHODS = frozenset({"bitsandbytes", "aqlm", "eetq", "hqq", "quanto", "torchao", "vptq"})
_MAX_BYTES = 32_000_000
_MAX_VALUES = 1_000_000
_CACHED_TOKENS = 1024
_CONTEXT = (
    "max_position_embeddings",
    "model_max_length",
    "max_seq_len",
    "max_sequence_length",
    "n_positions",
    "n_ctx",
    "seq_length",
)


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What matters of a config.json; None, "" and 0 stand for what is missing or makes no sense.

    `context_length` is in tokens; `cache` is what the cache of a sequence takes, in full precision.
    With `own_code` the folder has its own Python code; `quant_method` is the program that quantized
    the weights, if it was not MLX.
    """

    architecture: str
    own_code: bool
    quantization: str | None
    quant_method: str | None
    context_length: int | None
    cache: CacheLayout

    @property
    def cache_bytes(self) -> int:
        """About the size of the cache of a conversation of `cached_tokens` tokens."""
        return self.cache.of_tokens(cached_tokens(self.context_length))

    @property
    def fault(self) -> str | None:
        """Why mlx_lm cannot run the model; one with its own code may have any architecture."""
        name = self.architecture
        if not name:
            return "its config.json has no model_type"
        if not self.own_code and _known() and name not in _known():
            return f"mlx-lm has no architecture {name!r}"
        if self.quant_method in _FOREIGN_METHODS:
            return f"it is quantized with {self.quant_method}, which MLX cannot read"
        return None


def has_too_many_values(content: bytes) -> bool:
    """Return whether some JSON would take much memory, and stop all threads while it is decoded."""
    return content.count(b",") > _MAX_VALUES


class UnusableJson(Exception):
    """A file has no JSON object; the message follows its name."""


def load_json(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        UnusableJson: there is none, or it cannot be read.
    """
    try:
        with open_regular(file) as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES or has_too_many_values(content):
            raise UnusableJson("is too large")
        return msgspec.json.decode(content, type=dict[str, Any])
    except OSError as error:
        if out_of_files(error):
            raise
        raise UnusableJson(f"cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnusableJson(f"is not a JSON object: {error}") from error


def cached_tokens(context_length: int | None) -> int:
    """Return the length of the conversation that counts in the memory a model needs."""
    return min(context_length or _CACHED_TOKENS, _CACHED_TOKENS)


def read_config(config: dict[str, Any]) -> ModelConfig:
    """Read the content of a config.json, including its section about the text model."""
    architecture = config.get("model_type")
    return ModelConfig(
        architecture=architecture if isinstance(architecture, str) else "",
        own_code=isinstance(config.get("model_file"), str),
        quantization=_quantization(config),
        quant_method=_quant_method(config),
        context_length=first(config, _CONTEXT),
        cache=read_layout(config),
    )


@cache
def _known() -> frozenset[str]:
    """Return the architectures of the installed mlx_lm, one module each; none without mlx_lm."""
    package = importlib.util.find_spec("mlx_lm")  # which does not import it
    folders = package.submodule_search_locations if package else None
    modules = pkgutil.iter_modules(f"{folder}/models" for folder in folders or ())
    names = frozenset(module.name for module in modules)
    return names | OTHER_NAMES if names else names


def _quantization(config: dict[str, Any]) -> str | None:
    """Return "4-bit", "4/8-bit" if layers differ, or the name of another number format."""
    for section in sections(config):
        for key in ("quantization", "quantization_config"):
            if isinstance(quantization := section.get(key), dict):
                return _formats(quantization)
    return None


def _quant_method(config: dict[str, Any]) -> str | None:
    if "quantization" in config:
        return None
    section = config.get("quantization_config")
    method = section.get("quant_method") if isinstance(section, dict) else None
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
    bits = count(quantization.get("bits"))
    return None if bits is None else f"{bits}-bit"
