"""What is refused before its weights are downloaded, and which files a model needs."""

from pathlib import Path

import pytest

from mlxd.errors import PullFailed, PullRefused
from tests.fakes.hub import FakeHub
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
