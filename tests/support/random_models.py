"""Random models of the architectures of mlx-lm in memory, a few hundredths of a second for each.

`tests/architectures.json` has a small configuration for each architecture; windows and chunks are
smaller than the prompts of the tests. Unlike those of `scripts/random_model.py`, the weights are
such that a greedy answer is not one token again and again, that it depends on the whole prompt, and
that no part of a layer is without effect.

All models share one tokenizer. Ids 0 to 255 are the bytes and three are special, as in the tiny
model; each of the others is two letters, which no text is encoded to.
"""

import copy
from math import prod
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm import utils

from mlxd.engine.loader import LoadedModel
from scripts.random_model import architectures, widen_vocabulary
from scripts.tiny_model import EOS_ID, make_tiny_model

VOCABULARY = 1024

_SEEDS = {
    "deepseek_v41": 1,
    "gemma3_text": 2,
    "gemma4": 1,
    "gemma4_text": 1,
    "glm_moe_dsa": 1,
    "granitemoe": 1,
    "kimi_vl": 1,
    "nanochat": 2,
    "olmoe": 2,
    "plamo2": 1,
    "qwen": 1,
    "qwen3_next": 1,
    "stablelm": 1,
    "talkie": 1,
}
"""The seeds of the weights where those of seed 0 make answers that say little."""
_MEMORY = {
    "A_log": (-1.0, 0.3),
    "dt_bias": (-3.0, 0.3),
    "dt_proj.bias": (-3.0, 0.3),
    "recurrent_param": (-4.0, 0.3),
    "r_k": (0.0, 0.02),
    **{f"x_{part}": (0.5, 0.3) for part in "rwkvag"},
}
"""Means and deviations of the weights that let recurrent layers remember more than a few tokens."""
_QUERY_KEY_NORMS = ("q_norm", "k_norm", "q_layernorm", "k_layernorm")


def load_random_tokenizer(folder: Path) -> Any:
    """Return the tokenizer, in mlx_lm's TokenizerWrapper, after writing it into `folder`."""
    make_tiny_model(folder)
    widen_vocabulary(folder / "tokenizer.json", VOCABULARY)
    return utils.load_tokenizer(folder, eos_token_ids=EOS_ID)


def make_loaded_model(name: str, tokenizer: Any) -> LoadedModel:
    """Return the random model of an architecture, always the same, in float32 and in memory."""
    config = copy.deepcopy(architectures()[name])  # the models may change it
    make, arguments = utils._get_classes(config)
    model = make(arguments.from_dict(config))
    parameters = tree_flatten(model.parameters())
    keys = mx.random.split(mx.random.key(_SEEDS.get(name, 0)), len(parameters))
    weights = [
        (path, _random(path, array, key))
        for (path, array), key in zip(parameters, keys, strict=True)
    ]
    model.update(tree_unflatten(weights))
    model.eval()
    mx.eval(model.parameters())
    return LoadedModel(model, tokenizer, context_length=0, vocabulary=config["vocab_size"])


def _random(path: str, array: mx.array, key: mx.array) -> mx.array:
    """Return a weight in place of `array`, which holds what the architecture begins with."""
    if array.dtype == mx.uint32:
        return mx.random.randint(0, 1 << 32, array.shape, mx.uint32, key)  # of a quantized layer
    if not mx.issubdtype(array.dtype, mx.floating):
        return array
    noise = mx.random.normal(array.shape, array.dtype, key=key)
    module, _, name = path.rpartition(".")
    parent = module.rpartition(".")[2]
    for memory, (mean, deviation) in _MEMORY.items():
        if memory in (name, f"{parent}.{name}"):
            return mean + deviation * noise
    if name == "bias":
        return 0.1 * noise
    if parent in _QUERY_KEY_NORMS and name == "weight":
        return array + 1 + 0.1 * noise  # sharpens the attention
    if array.ndim < 2 or "norm" in parent:
        return array + 0.1 * noise
    inputs = prod(array.shape[1:]) if "conv" in path else array.shape[-1]
    if "emb" not in path and "wte" not in path:
        return 2 * inputs**-0.5 * noise
    if parent == "embed_tokens":  # an answer has no token that the tokenizer does not know
        noise = mx.where(mx.arange(len(noise))[:, None] < VOCABULARY, noise, 0)
    return 0.3 * inputs**-0.5 * noise
