"""Whether a repository is a model that can run here, and which of its files it needs."""

import shutil
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from mlxd.errors import PullFailed, PullRefused
from mlxd.hub.staging import RepoFile
from mlxd.models.entry import CACHED_TOKENS
from mlxd.models.folder import CONFIG
from mlxd.models.model_config import Architectures, ModelConfig, read_config
from mlxd.models.weights import is_weights
from mlxd.units import size

_WEIGHTS = "model*.safetensors"
# What mlx_lm.utils downloads, except Python code, and the additional templates of transformers.
_NEEDED = (
    _WEIGHTS,
    "*.json",
    "*.jsonl",
    "*.jinja",
    "*.tiktoken",
    "*.txt",
    "tiktoken.model",
    "tokenizer.model",
)
_TEMPLATES = "additional_chat_templates"
_TOKENIZERS = ("tokenizer*", "vocab*", "tekken.json", "*tiktoken*")
_FORMATS = {
    ".gguf": "GGUF files: download one and convert it with `mlxctl import FILE.gguf`",
    ".bin": "PyTorch weights, not safetensors",
    ".pt": "PyTorch weights, not safetensors",
    ".pth": "PyTorch weights, not safetensors",
    ".onnx": "ONNX weights",
    ".mlmodel": "Core ML weights",
    ".h5": "TensorFlow weights",
    ".msgpack": "Flax weights",
    ".npz": "NumPy weights, not safetensors",
    ".safetensors": f"safetensors files, but no {_WEIGHTS}, which mlx-lm loads",
}
_SPARE_BYTES = 1_000_000_000
_SPARE_SHARE = 20  # a small disk keeps a twentieth free


def needed(repo: str, files: Sequence[RepoFile]) -> list[RepoFile]:
    """Return the files that the model needs, config.json first and the weights last.

    Raises:
        PullRefused: the repository is not an MLX model; the message says what it is.
    """
    names = {file.name for file in files}
    chosen = [file for file in files if _is_needed(file.name)]
    weights = [file for file in chosen if is_weights(file.name)]
    if not weights or CONFIG not in names:
        raise PullRefused(f"{repo} is not an MLX model: {_what_it_is(names, bool(weights))}")
    if not any(fnmatchcase(file.name, pattern) for file in chosen for pattern in _TOKENIZERS):
        raise PullRefused(f"{repo} cannot be used: it has no tokenizer")
    return sorted(chosen, key=lambda file: (file.name != CONFIG, is_weights(file.name), file.name))


def check_memory(
    repo: str, files: Iterable[RepoFile], limit: int, config: ModelConfig | None = None
) -> None:
    """Check that the weights, and a conversation's cache once `config` is known, fit in memory.

    Raises:
        PullRefused: they take more than `limit` bytes; the message has the arithmetic.
    """
    weights = sum(file.size for file in files if is_weights(file.name))
    cache = config.cache_bytes(CACHED_TOKENS) if config else 0
    if weights + cache > limit:
        need = f"{size(weights + cache)} (weights {size(weights)}, cache {size(cache)})"
        if config is None:
            need = f"{size(weights)} for its weights alone"
        raise PullRefused(
            f"{repo} does not fit in memory: it needs {need}, models.memory_limit is {size(limit)}"
        )


def check_disk(repo: str, missing: int, folder: Path) -> None:
    """Check that `missing` bytes fit on the disk of `folder`, and leave some free.

    Raises:
        PullFailed: they do not; the message has the arithmetic.
    """
    disk = shutil.disk_usage(folder)
    spare = min(_SPARE_BYTES, disk.total // _SPARE_SHARE)
    if missing + spare > disk.free:
        raise PullFailed(
            f"{repo} does not fit on the disk: it needs {size(missing)} more, {size(spare)} must "
            f"stay free, and {folder} has {size(disk.free)}"
        )


def check_config(repo: str, content: bytes) -> ModelConfig:
    """Check that mlx_lm can run the model that a config.json describes, and return what it says.

    Raises:
        PullRefused: mlx_lm cannot run it, or the file is not valid.
    """
    try:
        config = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise PullRefused(f"{repo} cannot be used: its config.json is not a JSON object") from error
    described = read_config(config)
    if described.own_code:
        raise PullRefused(
            f"{repo} needs its own Python code ({config['model_file']}), which is not downloaded"
        )
    if fault := Architectures().fault(described):
        raise PullRefused(f"{repo} cannot be used: {fault}")
    return described


def _is_needed(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    if folder not in ("", _TEMPLATES) or file.startswith(".") or not name.isprintable():
        return False
    return any(fnmatchcase(file, pattern) for pattern in _NEEDED)


def _what_it_is(names: set[str], has_weights: bool) -> str:
    if has_weights:
        return "it has no config.json"
    if "model_index.json" in names:
        return "it is an image-generation pipeline"
    if "adapter_config.json" in names:
        return "it is an adapter"
    found = [what for ending, what in _FORMATS.items() if any(n.endswith(ending) for n in names)]
    if found:
        return f"it has {found[0]}"
    if any(".mlpackage/" in name for name in names):
        return f"it has {_FORMATS['.mlmodel']}"
    return "it has no weights" if names else "it is empty"
