"""How a model's own generation_config.json would choose tokens.

The file is that of transformers, which says of each field what it means. mlxd uses it where neither
the request nor the configuration says anything; a file that makes no sense says nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from mlxd.config import GenerationConfig
from mlxd.models.model_config import UnusableJson, load_json

GENERATION_CONFIG = "generation_config.json"
_MOST_TOKENS = 2**31 - 1

_ALLOWED: dict[str, Callable[[float], bool]] = {
    "temperature": lambda value: 0 <= value <= 2,
    "top_p": lambda value: 0 < value <= 1,
    "top_k": lambda value: 0 <= value <= _MOST_TOKENS and value == int(value),
    "min_p": lambda value: 0 <= value <= 1,
    "repetition_penalty": lambda value: 0 < value <= 100,
}


class OwnSampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """The sampling that a model asks for; None where it says nothing."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    def fill(self, configured: GenerationConfig) -> GenerationConfig:
        """Return `configured` with the model's values where it has none.

        A penalty of the model's counts for all tokens, as in transformers.
        """
        own = msgspec.to_builtins(self)
        missing = {name: own[name] for name in own if getattr(configured, name) is None}
        if "repetition_penalty" in missing and configured.repetition_context_size is None:
            missing["repetition_context_size"] = 0
        return replace(configured, **missing) if missing else configured


def read_own_sampling(folder: Path) -> OwnSampling:
    """Return what the generation_config.json in a model's folder asks for.

    `do_sample` false is temperature 0; true without a temperature is 1, as in transformers.
    """
    try:
        config = load_json(folder / GENERATION_CONFIG)
    except UnusableJson:
        return OwnSampling()
    found: dict[str, Any] = {
        name: value
        for name, allowed in _ALLOWED.items()
        if isinstance(value := config.get(name), int | float)
        and not isinstance(value, bool)
        and allowed(value)
    }
    if "top_k" in found:
        found["top_k"] = int(found["top_k"])
    if config.get("do_sample") is False:
        found["temperature"] = 0.0
    elif config.get("do_sample") is True:
        found.setdefault("temperature", 1.0)
    return OwnSampling(**found)
