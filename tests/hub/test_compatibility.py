"""What is refused before its weights are downloaded, and which files a model needs."""

import json
from pathlib import Path

import pytest

from mlxd.config import ModelsConfig
from mlxd.errors import PullFailed, PullRefused
from mlxd.hub.compatibility import check_files
from mlxd.models.catalog import Catalog
from mlxd.models.weights import INDEX
from tests.fakes.hub import FakeHub
from tests.fakes.model_folder import write_safetensors
from tests.hub.conftest import TINY, WEIGHTS, Puller, contents


def test_only_the_files_that_a_model_needs_are_fetched(pull: Puller, hub: FakeHub) -> None:
    more = {"chat_template.jinja": b"{{ x }}", "additional_chat_templates/rag.jinja": b"{{ y }}"}
    needless = {
        "README.md": b"#",
        "model.gguf": b"GGUF",
        "pytorch_model.bin": b"PK",
        "modeling.py": b"import os",
        "original/model.safetensors": b"twice",
        "onnx/config.json": b"{}",
        ".hidden.json": b"{}",
        "consolidated.safetensors": b"twice",
    }
    hub.repos["acme/tiny"].commit({**TINY, **more, **needless})
    assert contents(Path(pull().path)) == {**TINY, **more}


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, "it has no config.json"),
        ({"q4/a.Q4_K_M.gguf": b""}, "it has GGUF files, which `mlxctl import"),
        ({"config.json": b"{}", "pytorch_model.bin": b""}, "it has PyTorch weights"),
        ({"model_index.json": b"{}", "vae/model.safetensors": b""}, "it has no config.json"),
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": b""}, "it is an adapter"),
        ({"config.json": b"{}", "weights.safetensors": b""}, r"it has no weights \(model\*"),
        ({"config.json": b"{}", "model/a.safetensors": b""}, r"it has no weights \(model\*"),
        ({"model.safetensors": b""}, "it has no config.json"),
    ],
)
def test_a_repository_without_an_mlx_model_is_refused(
    pull: Puller, hub: FakeHub, files: dict[str, bytes], what: str
) -> None:
    hub.repos["acme/other"].commit(files)
    with pytest.raises(PullRefused, match=f"acme/other is not an MLX model: .*{what}"):
        pull("acme/other")
    assert not hub.sent


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (b'{"model_type": "hal9000"}', "mlx-lm has no architecture 'hal9000'"),
        (b"{}", "its config.json has no model_type"),
        (b"[]", "its config.json is not a JSON object"),
        (
            b'{"model_type": "llama", "model_file": "m.py"}',
            "its own Python code, which is not downloaded",
        ),
        (
            b'{"model_type": "llama", "quantization_config": {"quant_method": "bitsandbytes"}}',
            "is quantized with bitsandbytes",
        ),
    ],
)
def test_a_model_that_mlx_lm_cannot_run_is_refused_by_its_config(
    pull: Puller, hub: FakeHub, config: bytes, why: str
) -> None:
    hub.repos["acme/other"].commit({**TINY, "config.json": config})
    with pytest.raises(PullRefused, match=f"acme/other .*{why}"):
        pull("acme/other")
    assert set(hub.sent) == {"config.json"}


def test_a_model_without_a_tokenizer_is_refused(pull: Puller, hub: FakeHub) -> None:
    hub.repos["acme/other"].commit({name: TINY[name] for name in list(TINY)[:2]})
    with pytest.raises(PullRefused, match="no tokenizer"):
        pull("acme/other")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"tokenizer_config.json": b"{}"}, "it has no tokenizer"),
        ({"vae/tokenizer.json": b"{}"}, "it has no tokenizer"),
        ({"tiktoken.model": b"", "tokenization_kimi.py": b""}, "its tokenizer needs Python code"),
    ],
)
def test_what_belongs_to_a_tokenizer_is_none(
    pull: Puller, hub: FakeHub, files: dict[str, bytes], why: str
) -> None:
    hub.repos["acme/other"].commit({name: TINY[name] for name in list(TINY)[:2]} | files)
    with pytest.raises(PullRefused, match=why):
        pull("acme/other")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"tokenizer.json": b"{}"}, "its tokenizer cannot be loaded: KeyError: 'added_tokens'"),
        (
            {
                "tokenizer_config.json": b'{"auto_map": {"AutoTokenizer": ["mine.A", null]}}',
                "mine.py": b"class A: pass",
            },
            "its tokenizer cannot be loaded: it needs Python code of the model's own",
        ),
    ],
)
def test_a_tokenizer_is_tried_before_the_weights_are_downloaded(
    pull: Puller, hub: FakeHub, files: dict[str, bytes], why: str
) -> None:
    pull.check = check_files
    hub.repos["acme/tiny"].commit({**TINY, **files})
    with pytest.raises(PullRefused, match=f"acme/tiny cannot be used: {why}"):
        pull()
    assert "model.safetensors" not in hub.sent


def index(*files: str) -> bytes:
    """Return an index of weights in `files`."""
    weight_map = {f"layers.{number}.weight": file for number, file in enumerate(files)}
    return json.dumps({"weight_map": weight_map}).encode()


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"model-00012-of-00013.safetensors": b""}, id="inferencer-feedback#306"),
        pytest.param({INDEX: index("model.safetensors", "model-more.safetensors")}, id="index"),
    ],
)
def test_a_repository_without_all_of_its_weights_is_refused(
    pull: Puller, hub: FakeHub, files: dict[str, bytes]
) -> None:
    pull.check = check_files
    hub.repos["acme/tiny"].commit({**TINY, **files})
    absent = r"incomplete: \d+ of \d+ weight files are missing on the hub, such as model-"
    with pytest.raises(PullRefused, match=absent):
        pull()
    assert "model.safetensors" not in hub.sent


def test_an_index_of_other_weights_is_downloaded_and_means_nothing(
    pull: Puller, hub: FakeHub, models: Path
) -> None:
    """As in mlx-community/Qwen3-VL-4B-Instruct-4bit (mlx-swift-lm#554)."""
    left_over = index("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    weights = write_safetensors(models.parent / "weights", {"a": ("F32", [2])}).read_bytes()
    files = {**TINY, INDEX: left_over, "model.safetensors": weights}
    hub.repos["acme/tiny"].commit(files)
    pull.models_dir = models
    assert contents(Path(pull().path)) == files
    assert Catalog(ModelsConfig()).resolve("acme/tiny").size_bytes == len(weights)


def test_a_model_that_does_not_fit_in_memory_is_refused(pull: Puller, hub: FakeHub) -> None:
    config = b"""{"model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 4,
        "head_dim": 16, "max_position_embeddings": 1000}"""
    hub.repos["acme/tiny"].commit({**TINY, "config.json": config})
    limit = len(WEIGHTS) + 512_000
    need = r"it needs 4.5 MB \(weights 4.0 MB, cache 512 kB\), models.memory_limit is 4.4 MB"
    with pytest.raises(PullRefused, match=need):
        pull(memory_limit=limit - 100_000)
    assert set(hub.sent) == {"config.json"}
    pull(memory_limit=limit)


def test_a_model_that_does_not_fit_on_the_disk_is_refused(pull: Puller, hub: FakeHub) -> None:
    hub.repos["acme/tiny"].sizes["tokenizer.json"] = 10**18
    with pytest.raises(PullFailed, match=r"it needs 1000000 TB more, 1.0 GB must stay free, and /"):
        pull()
    assert set(hub.sent) == {"config.json"}
