"""Gemma 3 from a real file: an answer of the model, and tokens against llama.cpp."""

import json
from pathlib import Path

import mlx.nn as nn
import pytest
from mlx_lm import generate
from mlx_lm.utils import load

from tests.support.gguf_files import DATA

pytestmark = pytest.mark.slow

VECTORS = json.loads((DATA / "vectors.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def loaded(gemma3: Path) -> tuple[nn.Module, object]:
    return load(str(gemma3))


def test_it_answers(loaded) -> None:
    model, tokenizer = loaded
    prompt = "Question: What is the capital of France?\nAnswer:"

    assert generate(model, tokenizer, prompt, max_tokens=1) == " Paris"


def test_its_tokens_are_those_of_llama_cpp(loaded) -> None:
    _, tokenizer = loaded

    ids = [tokenizer.encode(text, add_special_tokens=False) for text in VECTORS["texts"]]

    assert ids == VECTORS["ids"]["gemma3"]
    assert [tokenizer.decode(each) for each in ids] == VECTORS["texts"]
    assert tokenizer.encode("Hello") == [tokenizer.bos_token_id, 9259]
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<eos>", "<end_of_turn>")]
    assert tokenizer.eos_token_ids == {*ends}
