"""What `mlxctl show` says beyond what the catalog knows."""

import json
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models import llama
from mlx_lm.tuner.utils import get_total_parameters

from mlxd.config import ModelsConfig
from mlxd.control_api import TemplateSupport
from mlxd.models.catalog import Catalog
from mlxd.models.details import count_parameters, read_details
from mlxd.models.weights import TensorInfo, read_tensors
from tests.fakes.model_folder import add_model


def small_model() -> llama.Model:
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "intermediate_size": 128, "vocab_size": 96}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5}
    return llama.Model(llama.ModelArgs(model_type="llama", **sizes, **heads))


@pytest.mark.parametrize(
    ("bits", "group_size", "mode"),
    [(4, 64, "affine"), (3, 32, "affine"), (8, 32, "mxfp8"), (4, 32, "mxfp4"), (4, 16, "nvfp4")],
)
def test_quantized_parameters_are_counted_as_mlx_lm_does(
    tmp_path: Path, bits: int, group_size: int, mode: str
) -> None:
    model = small_model()
    plain = get_total_parameters(model)
    nn.quantize(model, group_size, bits, mode=mode)
    file = tmp_path / "model.safetensors"
    mx.save_safetensors(str(file), dict(tree_flatten(model.parameters())))
    config = {"quantization": {"group_size": group_size, "bits": bits, "mode": mode}}
    assert count_parameters(read_tensors([file]), config) == plain == get_total_parameters(model)


def test_a_layer_may_have_its_own_group_size(tmp_path: Path) -> None:
    model = small_model()
    plain = get_total_parameters(model)
    own = {"group_size": 32, "bits": 8}

    def kind(path: str, layer: nn.Module) -> dict[str, int] | bool:
        return own if path == "model.embed_tokens" else hasattr(layer, "to_quantized")

    nn.quantize(model, 64, 4, class_predicate=kind)
    file = tmp_path / "model.safetensors"
    mx.save_safetensors(str(file), dict(tree_flatten(model.parameters())))
    config = {"quantization": {"group_size": 64, "bits": 4, "model.embed_tokens": own}}
    assert count_parameters(read_tensors([file]), config) == plain


def tensor(dtype: str, shape: list[int]) -> TensorInfo:
    return TensorInfo(dtype, shape, (0, 0))


def test_scales_of_other_formats_are_not_counted() -> None:
    tensors = {
        "experts.down_blocks": tensor("U8", [2, 16]),
        "experts.down_scales": tensor("U8", [2, 1]),
        "norm.weight": tensor("BF16", [8]),
        "norm.biases": tensor("BF16", [3]),
    }
    assert count_parameters(tensors, {}) == 2 * 32 + 8 + 3


TOOLS = "{% for tool in tools %}{{ tool }}{% endfor %}"


@pytest.mark.parametrize(
    ("file", "content", "template"),
    [
        ("chat_template.jinja", "{{ messages }}", TemplateSupport(tools=False, thinking=False)),
        ("chat_template.jinja", TOOLS, TemplateSupport(tools=True, thinking=False)),
        (
            "chat_template.json",
            {"chat_template": "<think>"},
            TemplateSupport(tools=False, thinking=True),
        ),
        (
            "tokenizer_config.json",
            {"chat_template": [{"name": "default", "template": "x"}, {"template": TOOLS}]},
            TemplateSupport(tools=True, thinking=False),
        ),
        ("tokenizer_config.json", {"chat_template": None}, None),
        ("tokenizer_config.json", [], None),
    ],
)
def test_the_chat_template_is_found_in_any_file(
    models: Path, file: str, content: object, template: TemplateSupport | None
) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (add_model(models / "a") / file).write_text(text)
    assert read_details(Catalog(ModelsConfig()).resolve("a")).template == template


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("---\nlanguage: en\nlicense: 'apache-2.0'\n---\nlicense: x", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: gemma\n---", "gemma"),
        ("---\nlicense: other\n---", "other"),
        ("---\ntags:\n- a\n---\nlicense: mit", None),
        ("license: mit", None),
        ("---\nlicense:\n---", None),
        ("", None),
    ],
)
def test_the_license_is_read_from_the_front_matter(
    models: Path, text: str, found: str | None
) -> None:
    (add_model(models / "a") / "README.md").write_text(text)
    assert read_details(Catalog(ModelsConfig()).resolve("a")).license == found
