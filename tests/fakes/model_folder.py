"""Model folders with a config and a few bytes of valid weights."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

LLAMA: dict[str, object] = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": 64,
    "max_position_embeddings": 4096,
}
_BYTES = {"U8": 1, "F16": 2, "BF16": 2, "F32": 4, "U32": 4}


def add_model(folder: Path, config: object = LLAMA, parts: int = 1) -> Path:
    """Make a model of `parts` weight files, with an index if there are several."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    names = [f"model-{part:05}-of-{parts:05}.safetensors" for part in range(1, parts + 1)]
    weight_map = {f"layer.{part}.weight": name for part, name in enumerate(names)}
    if parts == 1:
        weight_map = {"layer.0.weight": "model.safetensors"}
    else:
        index = {"metadata": {}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for tensor, name in weight_map.items():
        write_safetensors(folder / name, {tensor: ("BF16", [4])})
    return folder


def write_safetensors(file: Path, tensors: Mapping[str, tuple[str, Sequence[int]]]) -> Path:
    """Write tensors of zeros, given by name with their type and shape."""
    header: dict[str, object] = {"__metadata__": {"format": "mlx"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin = end
        size = _BYTES[dtype]
        for length in shape:
            size *= length
        end += size
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    return file


def add_to_cache(
    cache: Path, model_id: str, revision: str = "abc", *, main: bool = True, parts: int = 1
) -> Path:
    """Add a model to a Hugging Face cache, and return the folder of the revision."""
    repository = cache / f"models--{model_id.replace('/', '--')}"
    folder = add_model(repository / "snapshots" / revision, parts=parts)
    (repository / "blobs").mkdir(exist_ok=True)
    for file in list(folder.iterdir()):
        blob = repository / "blobs" / f"{revision}-{file.name}"
        file.rename(blob)
        file.symlink_to(Path("..") / ".." / "blobs" / blob.name)
    if main:
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / "main").write_text(revision)
    return folder
