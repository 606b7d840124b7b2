"""The import of a GGUF file from start to end: read, convert, write to a hidden folder, rename."""

import errno
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

import mlx.core as mx
import msgspec
from gguf import ReaderTensor

from mlxd.errors import InvalidRequest, MlxdError
from mlxd.gguf.architecture import Architecture, read_architecture
from mlxd.gguf.blocks import GROUP_SIZE, PLAIN, dense, packed
from mlxd.gguf.reader import open_gguf
from mlxd.gguf.tokenizer import ImportedTokenizer, build_tokenizer

Precision: TypeAlias = Literal["keep", "float32", "float16", "bfloat16"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{,199}")  # a file name has at most 255 bytes
_RESERVED_NAME = "default_model"  # which means the default model in a request
_SHOWN_CHARACTERS = 40
_DENSE = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}
_TENSORS_A_LINE = 50


class Imported(msgspec.Struct, frozen=True):
    """An imported model: its folder and size, and the quantization or type of its weights."""

    folder: Path
    size_bytes: int
    weights: str


def import_gguf(
    source: Path,
    models_dir: Path,
    *,
    name: str = "",
    precision: Precision = "keep",
    progress: Callable[[str], None] = lambda _: None,
) -> Imported:
    """Convert the GGUF file `source` to the model folder `models_dir`/`name`.

    Without `name` it is the file's name in lower case. `precision` "keep" keeps the quantization.
    `progress` is called with lines for the user. A failure leaves nothing behind.

    Raises:
        InvalidRequest: the name or the file is not valid.
        MlxdError: the folder cannot be written.
    """
    target = _target(models_dir, name or source.stem.lower())
    file = open_gguf(source)
    architecture = read_architecture(file)
    tokenizer = build_tokenizer(file.metadata, architecture.model_type)
    tokens = tokenizer.tokenizer.get_vocab_size()
    if tokens > architecture.vocab_size:
        raise InvalidRequest(
            f"the file has {tokens} tokens, but {architecture.vocab_size} embeddings"
        )
    dtype = _dtype(architecture, precision)
    arrays, bits = _convert(architecture, dtype, progress, keep=precision == "keep")
    kind = str(dtype).removeprefix("mlx.core.")
    config = architecture.config | {"torch_dtype": kind, "eos_token_id": tokenizer.eos_ids}
    if bits:
        config["quantization"] = quantization = _quantization(bits)
        kind = f"{quantization['bits']}-bit"
    if tokenizer.bos_id is not None:
        config["bos_token_id"] = tokenizer.bos_id
    progress(f"writing {target}")
    with _hidden_until_done(target) as folder:
        _write_weights(folder, arrays)
        _write_json(folder / "config.json", config)
        # transformers reads the tokens that end an answer from here, not from config.json
        _write_json(folder / "generation_config.json", {"eos_token_id": tokenizer.eos_ids})
        _write_tokenizer(folder, tokenizer)
    size = sum(file.stat().st_size for file in target.iterdir())
    return Imported(target, size, kind)


def _target(models_dir: Path, name: str) -> Path:
    if name == _RESERVED_NAME or not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:_SHOWN_CHARACTERS]!r} is not a valid model name: use letters, digits, '.', "
            f"'_' and '-', at most 200, starting with a letter or digit, and not "
            f"{_RESERVED_NAME}; choose another with --name"
        )
    target = models_dir / name
    if target.exists():
        raise InvalidRequest(f"{target} already exists; choose another name with --name")
    return target


def _dtype(architecture: Architecture, precision: Precision) -> mx.Dtype:
    """Return the type of all arrays that are not quantized: with two, MLX converts at every step.

    On a CPU the types of two bytes are slow and inexact.
    """
    if precision == "float16" and architecture.exceeds_float16:
        raise InvalidRequest(
            f"{architecture.model_type} models exceed the range of float16; "
            "use --dtype bfloat16 or float32"
        )
    if precision != "keep":
        return _DENSE[precision]
    half = mx.bfloat16 if architecture.exceeds_float16 else mx.float16
    weights = architecture.weights
    if any(_is_quantized(tensor) for tensor in weights.values()):
        return half if mx.default_device().type == mx.DeviceType.gpu else mx.float32
    plain = PLAIN[weights["model.embed_tokens.weight"].tensor_type]
    return half if plain == mx.float16 else plain


def _is_quantized(tensor: ReaderTensor) -> bool:
    return tensor.shape.size > 1 and tensor.tensor_type not in PLAIN


def _convert(
    architecture: Architecture,
    dtype: mx.Dtype,
    progress: Callable[[str], None],
    *,
    keep: bool,
) -> tuple[dict[str, mx.array], dict[str, int]]:
    """Return the model's arrays by name, and the bits of each layer that stays quantized."""
    weights, shift = architecture.weights, architecture.norm_shift
    arrays: dict[str, mx.array] = {}
    bits: dict[str, int] = {}
    for done, (name, tensor) in enumerate(weights.items()):
        if done % _TENSORS_A_LINE == 0:
            progress(f"converting tensor {done + 1} of {len(weights)}")
        if keep and _is_quantized(tensor):
            path = name.removesuffix(".weight")
            arrays[name], scales, biases, bits[path] = packed(tensor, dtype)
            arrays |= {f"{path}.scales": scales, f"{path}.biases": biases}
        elif name.endswith("norm.weight"):
            arrays[name] = (dense(tensor, mx.float32) - shift).astype(dtype)
        else:
            arrays[name] = dense(tensor, dtype)
    return arrays, bits


def _quantization(bits: dict[str, int]) -> dict[str, object]:
    """Return the `quantization` of config.json: the usual bits, and the layers with others."""
    usual, _ = Counter(bits.values()).most_common(1)[0]
    others = {path: count for path, count in bits.items() if count != usual}
    layers = {path: {"group_size": GROUP_SIZE, "bits": count} for path, count in others.items()}
    return {"group_size": GROUP_SIZE, "bits": usual, **layers}


@contextmanager
def _hidden_until_done(target: Path) -> Iterator[Path]:
    """Yield a hidden folder that becomes `target` at the end, and is removed on failure."""
    folder = target.with_name(f".import-{target.name}-{os.getpid()}")
    try:
        folder.mkdir(parents=True)
        yield folder
        folder.rename(target)
    except OSError as error:
        raise MlxdError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_weights(folder: Path, arrays: dict[str, mx.array]) -> None:
    needed, free = sum(array.nbytes for array in arrays.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed:,} bytes needed, {free:,} free on the disk")
    try:
        mx.save_safetensors(str(folder / "model.safetensors"), arrays, metadata={"format": "mlx"})
    except RuntimeError as error:
        raise OSError(f"{error}") from error


def _write_tokenizer(folder: Path, tokenizer: ImportedTokenizer) -> None:
    tokenizer_json = tokenizer.tokenizer.to_str()
    (folder / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
    _write_json(folder / "tokenizer_config.json", tokenizer.config)
    if tokenizer.chat_template:
        (folder / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
