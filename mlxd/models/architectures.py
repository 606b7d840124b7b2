"""Which architectures mlx_lm can run, found without importing it."""

import importlib.util
import os
from pathlib import Path

from mlxd.models.model_config import ModelConfig

# The names in mlx_lm.utils.MODEL_REMAPPING; a test compares the two.
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
# Quantisation methods whose packed weights mlx_lm would read as plain ones.
_FOREIGN_METHODS = frozenset({"bitsandbytes", "aqlm", "eetq", "hqq", "quanto", "torchao", "vptq"})


class Architectures:
    """Those of the installed mlx_lm, one module each; without mlx_lm, all are accepted."""

    def __init__(self) -> None:
        self._modules = _module_names()

    def fault(self, config: ModelConfig) -> str | None:
        """Return why the model cannot run, or None; one with its own code may have any name."""
        name = config.architecture
        if not name:
            return "its config.json has no model_type"
        known = not self._modules or name in self._modules or name in OTHER_NAMES
        if not known and not config.own_code:
            return f"mlx-lm has no architecture {name!r}"
        if config.quant_method in _FOREIGN_METHODS:
            return f"it is quantised with {config.quant_method}, which MLX cannot read"
        return None


def _module_names() -> set[str]:
    package = importlib.util.find_spec("mlx_lm")  # which does not import it
    if package is None or not package.submodule_search_locations:
        return set()
    folder = Path(package.submodule_search_locations[0]) / "models"
    try:
        return {name.removesuffix(".py") for name in os.listdir(folder) if name.endswith(".py")}
    except OSError:
        return set()
