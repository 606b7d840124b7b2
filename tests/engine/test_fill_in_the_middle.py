from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from mlx_lm import utils
from tokenizers import AddedToken, Tokenizer

from mlxd.engine.fill_in_the_middle import gap_ends
from mlxd.engine.prompts import PromptReader
from mlxd.errors import InvalidRequest
from mlxd.messages import TextPrompt
from scripts.tiny_model import EOS_ID, make_tiny_model


def tokenizer_with(folder: Path, marks: Sequence[str]) -> Any:
    """A byte-level tokenizer with tokens for marks."""
    make_tiny_model(folder)
    file = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in marks])
    tokenizer.save(str(file))
    return utils.load_tokenizer(folder, eos_token_ids=EOS_ID)


@pytest.mark.parametrize(
    ("marks", "text"),
    [
        (
            ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
            "<|fim_prefix|>a = <|fim_suffix|> + 1<|fim_middle|>",
        ),
        (
            ["<fim_prefix>", "<fim_middle>", "<fim_suffix>"],
            "<fim_prefix>a = <fim_suffix> + 1<fim_middle>",
        ),
        (
            ["<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>"],
            "<｜fim▁begin｜>a = <｜fim▁hole｜> + 1<｜fim▁end｜>",
        ),
        (["▁<PRE>", "▁<MID>", "▁<SUF>"], "▁<PRE>a = ▁<SUF> + 1▁<MID>"),
        (["[PREFIX]", "[MIDDLE]", "[SUFFIX]"], "[SUFFIX] + 1[PREFIX]a = "),
    ],
)
def test_the_form_of_each_family(tmp_path: Path, marks: list[str], text: str) -> None:
    """Qwen, StarCoder, DeepSeek, CodeLlama, Codestral [mlx-knife#55]."""
    tokenizer = tokenizer_with(tmp_path, marks)
    tokens = PromptReader(tokenizer).read(TextPrompt("a = ", " + 1"))
    assert tokenizer.decode(tokens) == text
    assert len(tokens) == 8 + len([mark for mark in marks if mark in text])


def test_a_tokenizer_without_such_tokens(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path, ["<|fim_prefix|>"])
    with pytest.raises(InvalidRequest, match="fill in the middle") as caught:
        PromptReader(tokenizer).read(TextPrompt("a", "b"))
    assert caught.value.param == "suffix"


def test_what_ends_the_gap(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path, ["<|fim_pad|>", "<|file_sep|>"])
    assert tokenizer.decode(list(gap_ends(tokenizer))) == "<|endoftext|><|fim_pad|><|file_sep|>"
