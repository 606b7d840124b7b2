import json
from pathlib import Path
from typing import Any

import pytest

from mlxd.config import GenerationConfig
from mlxd.models.generation_config import OwnSampling, read_own_sampling


def read(folder: Path, content: str) -> OwnSampling:
    (folder / "generation_config.json").write_text(content)
    return read_own_sampling(folder)


@pytest.mark.parametrize(
    ("config", "meant"),
    [
        (
            {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95},
            OwnSampling(temperature=0.6, top_k=20, top_p=0.95),
        ),
        ({"do_sample": True, "top_k": 64}, OwnSampling(temperature=1.0, top_k=64)),
        ({"do_sample": False, "temperature": 0.7}, OwnSampling(temperature=0.0)),
        ({"temperature": 0.7, "min_p": 0.1}, OwnSampling(temperature=0.7, min_p=0.1)),
        ({"repetition_penalty": 1.05}, OwnSampling(repetition_penalty=1.05)),
        ({"eos_token_id": [1, 2]}, OwnSampling()),
        ({"temperature": None, "top_p": "0.9", "top_k": True}, OwnSampling()),
        ({"temperature": -1, "top_p": 5, "top_k": 1.5, "repetition_penalty": 0}, OwnSampling()),
        ({"temperature": 0.5, "top_p": []}, OwnSampling(temperature=0.5)),
    ],
)
def test_what_a_model_asks_for(tmp_path: Path, config: dict[str, Any], meant: OwnSampling) -> None:
    """Qwen 3, Gemma 3, Qwen 2.5, and files that make no sense [mlx-vlm#1331, mlx-lm#140]."""
    assert read(tmp_path, json.dumps(config)) == meant


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '{"temperature": NaN}', "\x00" * 9])
def test_a_broken_file_says_nothing(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content) == OwnSampling()
    assert read_own_sampling(tmp_path / "missing") == OwnSampling()


def test_the_configuration_wins() -> None:
    own = OwnSampling(temperature=0.6, top_p=0.9)
    filled = own.fill(GenerationConfig(temperature=0.0, max_tokens=5))
    assert (filled.temperature, filled.top_p, filled.max_tokens) == (0.0, 0.9, 5)


def test_a_penalty_of_the_model_counts_for_all_tokens() -> None:
    own = OwnSampling(repetition_penalty=1.1)
    assert own.fill(GenerationConfig()).repetition_context_size == 0
    assert own.fill(GenerationConfig(repetition_context_size=9)).repetition_context_size == 9
    configured = own.fill(GenerationConfig(repetition_penalty=1.2))
    assert (configured.repetition_penalty, configured.repetition_context_size) == (1.2, None)
