"""Tokens to text, with the real tokenizer of SmolLM2."""

from pathlib import Path
from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer

from mlxd.engine.output import TextOutput


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> Any:
    return load_tokenizer(smollm2)


def write(output: TextOutput, tokens: list[int]) -> list[str]:
    pieces: list[str] = []
    for token in tokens:
        pieces.append(output.add(token))
        if output.stopped:
            return pieces
    return [*pieces, output.finish()]


@pytest.mark.parametrize(
    "text", ["Hello, world!\n", "naïve café 🙂👩‍🚀 你好", "def f():\n    return 1"]
)
def test_the_pieces_make_the_whole_and_no_character_comes_in_halves(
    tokenizer: Any, text: str
) -> None:
    pieces = write(TextOutput(tokenizer, []), tokenizer.encode(text))
    assert "".join(pieces) == text
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(pieces)


def test_text_that_goes_on_from_a_prompt_keeps_its_first_space(tokenizer: Any) -> None:
    prompt, rest = tokenizer.encode("The capital is"), tokenizer.encode(" Paris.")
    assert "".join(write(TextOutput(tokenizer, [], prompt[-1]), rest)) == " Paris."
    assert "".join(write(TextOutput(tokenizer, []), rest)) == "Paris."


@pytest.mark.parametrize(
    ("stop", "shown"),
    [
        (["apital"], "The c"),
        (["capital of Fr"], "The "),
        (["e cap"], "Th"),
        (["Germany", "is"], "The capital of France "),
        (["The"], ""),
        (["never"], "The capital of France is Paris"),
    ],
)
def test_a_stop_text_is_found_wherever_it_lies_in_the_tokens(
    tokenizer: Any, stop: list[str], shown: str
) -> None:
    tokens = tokenizer.encode("The capital of France is Paris")
    output = TextOutput(tokenizer, stop)
    assert "".join(write(output, tokens)) == shown
    assert output.stopped == (stop != ["never"])


def test_what_might_become_a_stop_text_is_held_back_until_it_is_none(tokenizer: Any) -> None:
    output = TextOutput(tokenizer, ["\n\nEnd"])
    newlines = tokenizer.encode("a\n\n")
    assert "".join(output.add(token) for token in newlines) == "a"
    assert output.add(tokenizer.encode("b")[0]) == "\n\nb"
