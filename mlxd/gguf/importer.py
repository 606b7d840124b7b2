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

from mlxd.errors import InvalidRequest, MlxdError
from mlxd.gguf.architecture import ImportedConfig, Weight, read_architecture
from mlxd.gguf.blocks import GROUP_SIZE, Packed, as_stored, dense
from mlxd.gguf.container import Container, open_container
from mlxd.gguf.metadata import Metadata
from mlxd.gguf.tokenizer import ImportedTokenizer, build_tokenizer

Precision: TypeAlias = Literal["keep", "float32", "float16"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{,199}")  # a file name has at most 255 bytes
_RESERVED_NAME = "default_model"  # which means the default model in a request
_SHOWN_CHARACTERS = 40
_DENSE = {"float32": mx.float32, "float16": mx.float16}
_TENSORS_A_LINE = 50


class Imported(msgspec.Struct, frozen=True):
    """An imported model: its folder and size, and the quantisation or type of its weights."""

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

    Without `name` it is the file's name in lower case. `precision` "keep" keeps the quantisation.
    `progress` is called with lines for the user. A failure leaves nothing behind.

    Raises:
        InvalidRequest: the name or the file is not valid.
        MlxdError: the folder cannot be written.
    """
    target = _target(models_dir, name or source.stem.lower())
    container = open_container(source)
    architecture = read_architecture(container)
    config = architecture.config
    tokenizer = build_tokenizer(Metadata(container.metadata), config.model_type)
    tokens = tokenizer.tokenizer.get_vocab_size()
    if tokens > config.vocab_size:
        raise InvalidRequest(f"the file has {tokens} tokens, but {config.vocab_size} embeddings")
    weights = _convert(container, architecture.weights, config, precision, progress)
    config.eos_token_id = tokenizer.eos_ids
    if tokenizer.bos_id is not None:
        config.bos_token_id = tokenizer.bos_id
    progress(f"writing {target}")
    with _hidden_until_done(target) as folder:
        _write_model(folder, config, weights)
        _write_tokenizer(folder, tokenizer)
    size = sum(file.stat().st_size for file in target.iterdir())
    return Imported(target, size, _describe(config))


def _target(models_dir: Path, name: str) -> Path:
    if name == _RESERVED_NAME or not _NAME.fullmatch(name):
        shown = name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}…"
        raise InvalidRequest(
            f"{shown!r} is not a valid model name: use letters, digits, '.', '_' and '-', at most "
            f"200, starting with a letter or digit, and not {_RESERVED_NAME}; choose another "
            "with --name"
        )
    target = models_dir / name
    if target.exists():
        raise InvalidRequest(f"{target} already exists; choose another name with --name")
    return target


def _convert(
    container: Container,
    weights: list[Weight],
    config: ImportedConfig,
    precision: Precision,
    progress: Callable[[str], None],
) -> dict[str, mx.array]:
    """Return the model's arrays by name, and set their type and quantisation in `config`.

    All arrays that are not quantised get one type: with two, MLX converts at every step.
    """
    scale_type = _fast_type()
    arrays: dict[str, mx.array] = {}
    plain: dict[str, mx.array] = {}
    bits: dict[str, int] = {}
    for done, weight in enumerate(weights):
        if done % _TENSORS_A_LINE == 0:
            progress(f"converting tensor {done + 1} of {len(weights)}")
        tensor, name = weight.tensor, f"{weight.path}.{weight.kind}"
        blocks = container.blocks(tensor)
        if precision != "keep":
            plain[name] = dense(tensor.type, tensor.shape, blocks, _DENSE[precision])
        elif len(tensor.shape) == 1:
            plain[name] = dense(tensor.type, tensor.shape, blocks, mx.float32)
        else:
            stored = as_stored(tensor.type, tensor.shape, blocks, scale_type)
            if isinstance(stored, Packed):
                arrays[name] = stored.weight
                arrays[f"{weight.path}.scales"] = stored.scales
                arrays[f"{weight.path}.biases"] = stored.biases
                bits[weight.path] = stored.bits
            else:
                plain[name] = stored
    dtype = scale_type if bits else plain["model.embed_tokens.weight"].dtype
    arrays |= {name: array.astype(dtype) for name, array in plain.items()}
    config.torch_dtype = str(dtype).removeprefix("mlx.core.")
    if bits:
        config.quantization = _quantization(bits)
    return arrays


def _fast_type() -> mx.Dtype:
    """Return the type that this machine is fast with: on a CPU float16 is slow and inexact."""
    return mx.float16 if mx.default_device().type == mx.DeviceType.gpu else mx.float32


def _quantization(bits: dict[str, int]) -> dict[str, object]:
    """Return the `quantization` of config.json: the usual bits, and the layers with others."""
    usual = Counter(bits.values()).most_common(1)[0][0]
    others = {
        path: {"group_size": GROUP_SIZE, "bits": count}
        for path, count in bits.items()
        if count != usual
    }
    return {"group_size": GROUP_SIZE, "bits": usual, **others}


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


def _write_model(folder: Path, config: ImportedConfig, arrays: dict[str, mx.array]) -> None:
    needed, free = sum(array.nbytes for array in arrays.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed:,} bytes needed, {free:,} free on the disk")
    try:
        mx.save_safetensors(str(folder / "model.safetensors"), arrays, metadata={"format": "mlx"})
    except RuntimeError as error:
        raise OSError(f"{error}") from error
    _write_json(folder / "config.json", config)
    # transformers reads the tokens that end an answer from here, not from config.json
    _write_json(folder / "generation_config.json", {"eos_token_id": config.eos_token_id})


def _write_tokenizer(folder: Path, tokenizer: ImportedTokenizer) -> None:
    tokenizer_json = tokenizer.tokenizer.to_str()
    (folder / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
    _write_json(folder / "tokenizer_config.json", tokenizer.config)
    if tokenizer.chat_template:
        (folder / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def _describe(config: ImportedConfig) -> str:
    if isinstance(config.quantization, dict):
        return f"{config.quantization['bits']}-bit"
    return str(config.torch_dtype)
