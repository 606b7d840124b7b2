"""Which architectures the engine can run, known without importing it."""

import importlib.util
import os
from pathlib import Path

from mlxd.models.model_config import ModelConfig

# mlx_lm.utils.MODEL_REMAPPING's names; a test compares the two.
OTHER_NAMES = frozenset(
    {
        "deepseek_v41_text",
        "falcon_mamba",
        "gemma4_unified",
        "iquestcoder",
        "joyai_llm_flash",
        "kimi_k2",
        "llava",
        "minimax_m2",
        "mistral",
        "phi-msft",
        "qwen2_5_vl",
        "xverse",
    }
)


class Architectures:
    """Those of the installed mlx_lm, which has one module for each; without it, any is taken."""

    def __init__(self) -> None:
        self._modules = _module_names()

    def known(self, config: ModelConfig) -> bool:
        """Whether a model of that kind can be run; one that brings its own code may be."""
        name = config.architecture
        listed = not self._modules or name in self._modules or name in OTHER_NAMES
        return name != "" and (listed or config.own_code)


def _module_names() -> set[str]:
    package = importlib.util.find_spec("mlx_lm")  # a package is found without being imported
    if package is None or not package.submodule_search_locations:
        return set()
    folder = Path(package.submodule_search_locations[0]) / "models"
    try:
        return {name.removesuffix(".py") for name in os.listdir(folder) if name.endswith(".py")}
    except OSError:
        return set()
