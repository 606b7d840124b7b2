"""GGUF files become model folders that mlx_lm loads and that give the same answers."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from gguf import GGMLQuantizationType as TensorType
from gguf import quants
from mlx_lm import generate
from mlx_lm.utils import load, load_model

from mlxd.errors import InvalidRequest, MlxdError
from mlxd.gguf.importer import import_gguf
from tests.support.gguf_files import random_model, write_model

pytestmark = pytest.mark.slow

PROMPT = [[5, 400, 17, 33, 256, 8, 8, 90]]


def logits(model: nn.Module) -> np.ndarray:
    return np.array(model(mx.array(PROMPT)).astype(mx.float32))


def test_smollm2_answers(smollm2: Path) -> None:
    model, tokenizer = load(str(smollm2))
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True)

    assert "Paris" in generate(model, tokenizer, prompt, max_tokens=8)
    assert tokenizer.eos_token_ids == {tokenizer.convert_tokens_to_ids("<|im_end|>"), 0}
    quantization = json.loads((smollm2 / "config.json").read_text())["quantization"]
    assert quantization["bits"] == 4
    assert quantization["model.embed_tokens"]["bits"] == 8


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3", "gemma3"])
def test_an_imported_model_gives_the_same_logits(
    tmp_path: Path, architecture: str, tied: bool
) -> None:
    original = random_model(architecture, tied=tied)
    file = write_model(tmp_path / "small.gguf", architecture, original)

    imported, _ = load_model(import_gguf(file, tmp_path / "models").folder)

    np.testing.assert_allclose(logits(imported), logits(original), rtol=1e-3, atol=1e-4)


def test_quantized_weights_stay_quantized(tmp_path: Path) -> None:
    original = random_model("llama")
    file = write_model(tmp_path / "small.gguf", "llama", original, tensor_type=TensorType.Q8_0)

    result = import_gguf(file, tmp_path / "models")
    imported, config = load_model(result.folder)

    assert result.weights == "8-bit"
    assert config["quantization"] == {"group_size": 32, "bits": 8}
    assert isinstance(imported.layers[1].mlp.up_proj, nn.QuantizedLinear)
    np.testing.assert_allclose(logits(imported), logits(original), atol=0.3)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", mx.float32), ("float16", mx.float16)])
def test_quantized_weights_can_be_dequantized(
    tmp_path: Path, precision: str, dtype: mx.Dtype
) -> None:
    original = random_model("qwen3")
    file = write_model(tmp_path / "small.gguf", "qwen3", original, tensor_type=TensorType.Q4_1)

    result = import_gguf(file, tmp_path / "models", precision=precision)
    weights = mx.load(str(result.folder / "model.safetensors"))

    assert result.weights == precision
    assert {array.dtype for array in weights.values()} == {dtype}
    up = "model.layers.0.mlp.up_proj.weight"
    stored = quants.quantize(np.array(original.layers[0].mlp.up_proj.weight), TensorType.Q4_1)
    exact = quants.dequantize(stored, TensorType.Q4_1)
    np.testing.assert_allclose(np.array(weights[up], np.float32), exact, atol=1e-3)
    assert "quantization" not in json.loads((result.folder / "config.json").read_text())
    load_model(result.folder)


@pytest.mark.parametrize(
    ("architecture", "tensor_type", "gpu", "dtype"),
    [
        ("llama", TensorType.Q8_0, False, "float32"),
        ("llama", TensorType.Q8_0, True, "float16"),
        ("gemma3", TensorType.Q8_0, True, "bfloat16"),
        ("llama", TensorType.F16, False, "float16"),
        ("gemma3", TensorType.F16, False, "bfloat16"),
    ],
)
def test_weights_that_are_not_quantized_have_a_type_that_suits_the_model(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    tensor_type: TensorType,
    gpu: bool,
    dtype: str,
) -> None:
    """Values between Gemma's layers exceed the range of float16."""
    file = write_model(tmp_path / "small.gguf", architecture, tensor_type=tensor_type)
    device = mx.Device(mx.gpu if gpu else mx.cpu)
    monkeypatch.setattr(mx, "default_device", lambda: device)

    folder = import_gguf(file, tmp_path / "models").folder

    assert json.loads((folder / "config.json").read_text())["torch_dtype"] == dtype
    norm = mx.load(str(folder / "model.safetensors"))["model.norm.weight"]
    assert norm.dtype == getattr(mx, dtype)


def test_gemma3_in_float16_is_refused(tmp_path: Path) -> None:
    file = write_model(tmp_path / "small.gguf", "gemma3")

    with pytest.raises(InvalidRequest, match="range of float16; use --dtype bfloat16 or float32"):
        import_gguf(file, tmp_path / "models", precision="float16")

    import_gguf(file, tmp_path / "models", precision="bfloat16")


def test_the_name_is_the_files_in_lower_case(tmp_path: Path) -> None:
    file = write_model(tmp_path / "Small-LLaMA.Q4_0.gguf", "llama")

    result = import_gguf(file, tmp_path / "models")

    assert result.folder == tmp_path / "models" / "small-llama.q4_0"
    assert result.size_bytes > (result.folder / "model.safetensors").stat().st_size


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    file = write_model(tmp_path / "small.gguf", "llama")
    mine = tmp_path / "models" / "small"
    mine.mkdir(parents=True)

    with pytest.raises(InvalidRequest, match="already exists; choose another name with --name"):
        import_gguf(file, tmp_path / "models")

    assert list((tmp_path / "models").iterdir()) == [mine]
    assert list(mine.iterdir()) == []


@pytest.mark.parametrize("name", ["../up", "owner/name", ".hidden", "-flag", "two words", "a\nb"])
def test_an_invalid_name_is_refused(tmp_path: Path, name: str) -> None:
    file = write_model(tmp_path / "small.gguf", "llama")

    with pytest.raises(InvalidRequest, match="is not a valid model name") as error:
        import_gguf(file, tmp_path / "models", name=name)

    assert "\n" not in error.value.message
    assert not (tmp_path / "models").exists()


def test_more_tokens_than_embeddings_are_refused(tmp_path: Path) -> None:
    model = random_model("llama", vocab_size=497)
    file = write_model(tmp_path / "small.gguf", "llama", model)

    with pytest.raises(InvalidRequest, match="498 tokens, but 497 embeddings"):
        import_gguf(file, tmp_path / "models")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_model(tmp_path / "small.gguf", "llama")
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)

    with pytest.raises(MlxdError, match=r"cannot write .*small: [\d,]+ bytes needed, 1,000 free"):
        import_gguf(file, tmp_path / "models")

    assert list((tmp_path / "models").iterdir()) == []


def test_a_models_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    file = write_model(tmp_path / "small.gguf", "llama")

    with pytest.raises(MlxdError, match=r"cannot write .*: Not a directory"):
        import_gguf(file, file / "models")
