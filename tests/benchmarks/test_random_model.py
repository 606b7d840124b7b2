"""The random models of the benchmark."""

import json
from pathlib import Path

import mlx.core as mx
import pytest
from mlx_lm import load

from scripts.random_model import make_random_model


@pytest.mark.parametrize("architecture", ["llama", "gemma4"])
def test_answers_are_printable(tmp_path: Path, architecture: str) -> None:
    model, tokenizer = load(str(make_random_model(tmp_path / "model", architecture)))

    likeliest = mx.argmax(model(mx.array([tokenizer.encode("A question, and a second one?")])), -1)
    assert tokenizer.decode(likeliest[0].tolist()).isprintable()


def test_context_length_and_changes_of_the_configuration(tmp_path: Path) -> None:
    path = make_random_model(tmp_path, "llama", context_length=512, changes={"head_dim": 64})

    config = json.loads((path / "config.json").read_text())
    assert config["max_position_embeddings"] == 512
    assert config["head_dim"] == 64


def test_thoughts_are_opened_by_the_template_and_keep_their_token(tmp_path: Path) -> None:
    _, tokenizer = load(str(make_random_model(tmp_path / "model", "llama")))
    messages = [{"role": "user", "content": "Why?"}]

    for thinking in (True, False):
        prompt = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, enable_thinking=thinking
        )
        assert (tokenizer.think_start_tokens[0] in prompt) is thinking
        assert max(prompt) < 1024
