"""Whether a repository is a model that can run here, and which of its files it needs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from mlxd.errors import PullFailed, PullRefused
from mlxd.hub.staging import RepoFile
from mlxd.models.folder import CONFIG, missing, tokenizer_fault
from mlxd.models.model_config import UnusableJson, load_json, read_config
from mlxd.models.weights import is_weights, missing_weights
from mlxd.units import size

# What mlx_lm.utils downloads, except Python code, and what else transformers reads.
_NEEDED = (
    "model*.safetensors",
    "*.json",
    "*.jsonl",
    "*.jinja",
    "*.tiktoken",
    "*.txt",
    "sentencepiece*.model",
    "spiece.model*",
    "tiktoken.model",
    "tokenizer.model*",
)
_TEMPLATES = "additional_chat_templates"
_CHECK_TOKENIZER = (sys.executable, "-P", "-m", "mlxd.engine.tokenizer_loader")
_CHECK_SECONDS = 120
_SPARE_BYTES = 1_000_000_000
_SPARE_SHARE = 20  # a small disk keeps a twentieth free


def needed(repo: str, files: Sequence[RepoFile]) -> list[RepoFile]:
    """Return the files that the model needs, config.json first and the weights last.

    Raises:
        PullRefused: the repository is not an MLX model; the message says what it is.
    """
    if fault := missing({file.name for file in files}):
        raise PullRefused(f"{repo} is not an MLX model: {fault}")
    chosen = [file for file in files if _is_needed(file.name)]
    if fault := tokenizer_fault({file.name for file in chosen}):
        raise PullRefused(f"{repo} cannot be used: {fault}")
    return sorted(chosen, key=lambda file: (file.name != CONFIG, is_weights(file.name), file.name))


def check_model(repo: str, files: Sequence[RepoFile], config_file: Path, memory_limit: int) -> None:
    """Check that mlx_lm can run the model, and that its weights and a conversation fit in memory.

    Raises:
        PullRefused: it cannot run here, and why.
    """
    try:
        config = read_config(load_json(config_file))
    except UnusableJson as error:
        raise PullRefused(f"{repo} cannot be used: its config.json {error}") from error
    if config.own_code:
        raise PullRefused(f"{repo} needs its own Python code, which is not downloaded")
    if fault := config.fault:
        raise PullRefused(f"{repo} cannot be used: {fault}")
    weights = sum(file.size for file in files if is_weights(file.name))
    cache = config.cache_bytes
    if weights + cache > memory_limit:
        raise PullRefused(
            f"{repo} does not fit in memory: it needs {size(weights + cache)} "
            f"(weights {size(weights)}, cache {size(cache)}), "
            f"models.memory_limit is {size(memory_limit)}"
        )


def check_files(repo: str, files: Sequence[RepoFile], folder: Path) -> None:
    """Check the tokenizer in `folder`, which has the repository's small files, and its index.

    Raises:
        PullRefused: weights are missing in the repository, or its tokenizer cannot be loaded here.
    """
    present = {file.name for file in files if is_weights(file.name)}
    if absent := sorted(missing_weights(folder, present)):
        raise PullRefused(
            f"{repo} is incomplete: {len(absent)} of {len(present) + len(absent)} weight files are "
            f"missing on the hub, such as {absent[0]}"
        )
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    try:
        checked = subprocess.run(
            [*_CHECK_TOKENIZER, str(folder)],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=_CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return
    if checked.returncode == 0 and (fault := checked.stdout.strip()):
        raise PullRefused(f"{repo} cannot be used: {fault}")


def check_disk(repo: str, missing_bytes: int, folder: Path) -> None:
    """Check that `missing_bytes` fit on the disk of `folder`, and leave some free.

    Raises:
        PullFailed: they do not; the message has the arithmetic.
    """
    disk = shutil.disk_usage(folder)
    spare = min(_SPARE_BYTES, disk.total // _SPARE_SHARE)
    if missing_bytes + spare > disk.free:
        raise PullFailed(
            f"{repo} does not fit on the disk: it needs {size(missing_bytes)} more, {size(spare)} "
            f"must stay free, and {folder} has {size(disk.free)}"
        )


def _is_needed(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    if folder not in ("", _TEMPLATES) or file.startswith(".") or not name.isprintable():
        return False
    return any(fnmatchcase(file, pattern) for pattern in _NEEDED)
