"""Adapters for the tiny models."""

import json
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model


def make_adapter(folder: Path, model_folder: Path) -> None:
    """Write a LoRA as `mlx_lm.lora` does; its random weights change the answers."""
    lora = {"rank": 4, "scale": 10.0, "dropout": 0.0}
    model, _ = load_model(model_folder)
    model.freeze()
    linear_to_lora_layers(model, 2, lora)
    weights = dict(tree_flatten(model.trainable_parameters()))
    assert weights
    keys = mx.random.split(mx.random.key(0), len(weights))
    changed = {
        name: mx.random.normal(weight.shape, scale=0.2, key=key)
        for key, (name, weight) in zip(keys, weights.items(), strict=True)
    }
    folder.mkdir(parents=True)
    mx.save_safetensors(str(folder / "adapters.safetensors"), changed)
    config = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": lora}
    (folder / "adapter_config.json").write_text(json.dumps(config))
