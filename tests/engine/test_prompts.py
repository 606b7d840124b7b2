"""Prompts to tokens, with the tiny model's tokenizer: one token a byte."""

from typing import Any

import pytest

from mlxd.engine.loader import LoadedModel
from mlxd.engine.prompts import BadPrompt, tokenize
from mlxd.messages import ChatPrompt, TextPrompt, TokensPrompt

USER = {"role": "user", "content": "hi"}


@pytest.fixture
def tokenizer(loaded: LoadedModel) -> Any:
    return loaded.tokenizer


def test_text_goes_to_the_tokenizer_as_it_is(tokenizer: Any) -> None:
    assert tokenizer.decode(tokenize(tokenizer, TextPrompt("hello"))) == "hello"


def test_a_chat_ends_where_the_assistant_begins(tokenizer: Any) -> None:
    text = tokenizer.decode(tokenize(tokenizer, ChatPrompt([USER])))
    assert "hi" in text
    assert text.rstrip().endswith("assistant")


def test_token_ids_go_through(tokenizer: Any) -> None:
    assert tokenize(tokenizer, TokensPrompt([5, 6])) == [5, 6]


@pytest.mark.parametrize("prompt", [TextPrompt(""), TokensPrompt([])])
def test_nothing_to_generate_from_is_refused(
    tokenizer: Any, prompt: TextPrompt | TokensPrompt
) -> None:
    with pytest.raises(BadPrompt, match="empty") as caught:
        tokenize(tokenizer, prompt)
    assert caught.value.param == "prompt"


def test_a_template_that_refuses_the_messages_says_why(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = "{{ raise_exception('roles must alternate') }}"
    monkeypatch.setattr(tokenizer._tokenizer, "chat_template", template)
    with pytest.raises(BadPrompt, match="roles must alternate") as caught:
        tokenize(tokenizer, ChatPrompt([USER]))
    assert caught.value.param == "messages"


def test_arguments_nested_beyond_reason_are_refused(tokenizer: Any) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "[" * 100_000}}
    with pytest.raises(BadPrompt, match="chat template refused"):
        tokenize(tokenizer, ChatPrompt([{"role": "assistant", "tool_calls": [call]}]))


def test_a_model_without_a_template_gets_a_plain_dialogue(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer._tokenizer, "has_chat_template", False)
    text = tokenizer.decode(tokenize(tokenizer, ChatPrompt([USER])))
    assert text.startswith("USER: hi")
