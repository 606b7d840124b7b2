"""Masks that take too long, over a vocabulary in which that happens."""

from pathlib import Path

import llguidance.hf
import numpy as np
import pytest
from llguidance import LLMatcher, LLTokenizer
from mlx_lm.utils import load_tokenizer

from mlxd.engine.mask_time import TimedMatcher, is_slow, may_be_slow, parser_limits
from mlxd.generate_request import Grammar
from scripts.tiny_model import make_tiny_model
from tests.support.grammars import add_long_tokens, slow_grammar


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> LLTokenizer:
    folder: Path = make_tiny_model(tmp_path_factory.mktemp("models") / "long")
    add_long_tokens(folder)
    return llguidance.hf.from_tokenizer(load_tokenizer(folder)._tokenizer)


def matcher(tokens: LLTokenizer, source: str) -> LLMatcher:
    return LLMatcher(tokens, LLMatcher.grammar_from_lark(source), limits=parser_limits())


def words(tokens: LLTokenizer) -> int:
    return (tokens.vocab_size + 31) // 32


@pytest.mark.parametrize("watched", [True, False])
def test_a_mask_is_the_same_in_another_thread(tokens: LLTokenizer, watched: bool) -> None:
    bits = np.zeros(words(tokens), np.uint32)
    assert TimedMatcher(matcher(tokens, 'start: "A" | "B"'), may_be_slow=watched).fill(bits)
    assert bits.tolist() == [0, 0, 0b110] + [0] * (words(tokens) - 3)


def test_a_mask_that_takes_seconds_is_given_up(tokens: LLTokenizer) -> None:
    timed = TimedMatcher(matcher(tokens, slow_grammar(1)), may_be_slow=True)
    bits = np.zeros(words(tokens), np.uint32)
    assert timed.fill(bits)
    timed.matcher.consume_token(ord("b"))
    bits[:] = 0
    assert not timed.fill(bits)
    assert not bits.any()


def test_the_first_masks_of_a_grammar_are_tried(tokens: LLTokenizer) -> None:
    assert is_slow(matcher(tokens, slow_grammar(1)), words(tokens))
    assert not is_slow(matcher(tokens, 'start: "A" | "B"'), words(tokens))


def test_only_large_grammars_may_be_slow_at_once() -> None:
    assert not may_be_slow([Grammar("lark", 'start: "A" | "B"', "guided_grammar")])
    assert not may_be_slow([Grammar("regex", "a|" * 1000, "guided_regex")])
    assert may_be_slow([Grammar("lark", slow_grammar(1), "guided_grammar")])
