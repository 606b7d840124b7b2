"""Conversations that are longer than the context; a token of the tiny model is a byte."""

from typing import Any

import pytest

from mlxd.engine.loader import LoadedModel
from mlxd.engine.preprocessing import Prepared, Preprocessor
from mlxd.messages import ChatPrompt, Failed, Generate, GenerateRequest, Sampling

SYSTEM = {"role": "system", "content": "Be brief."}


def turns(count: int) -> list[dict[str, Any]]:
    """Return questions and answers, each about 120 bytes as text for the model."""
    said = (
        {"role": role, "content": f"{role} {n} " + "x" * 90}
        for n in range(count)
        for role in ("user", "assistant")
    )
    return [*said, {"role": "user", "content": "The last one."}]


def prepared(
    loaded: LoadedModel,
    messages: list[dict[str, Any]],
    *,
    max_tokens: int | None = 10,
    **fields: Any,
) -> Prepared | Failed:
    preprocessor = Preprocessor(loaded.tokenizer, loaded.vocabulary, 1000, find_boundaries=True)
    prompt = ChatPrompt(messages, truncate=fields.get("truncate", True))
    return preprocessor.prepare(Generate(1, GenerateRequest(prompt, max_tokens, Sampling())))


def text(loaded: LoadedModel, made: Prepared | Failed) -> str:
    assert isinstance(made, Prepared), made
    decoded: str = loaded.tokenizer.decode(made.tokens)
    return decoded


def test_the_oldest_turns_go_and_the_system_prompt_stays(loaded: LoadedModel) -> None:
    made = prepared(loaded, [SYSTEM, *turns(30)])
    shown = text(loaded, made)
    assert "Be brief." in shown
    assert "The last one." in shown
    assert "user 29" in shown
    assert "user 0 " not in shown
    kept = [n for n in range(30) if f"user {n} " in shown]
    assert kept == list(range(kept[0], 30))
    assert isinstance(made, Prepared)
    assert 700 < len(made.tokens) <= 990


def test_an_answer_that_may_be_long_gets_a_quarter_of_the_context(loaded: LoadedModel) -> None:
    for most in (None, 5000):
        made = prepared(loaded, turns(30), max_tokens=most)
        assert isinstance(made, Prepared)
        assert 500 < len(made.tokens) <= 750


def test_what_fits_stays_whole(loaded: LoadedModel) -> None:
    assert text(loaded, prepared(loaded, turns(2))) == text(
        loaded, prepared(loaded, turns(2), truncate=False)
    )


@pytest.mark.parametrize("truncate", [False, True])
def test_what_cannot_fit_is_an_error(loaded: LoadedModel, truncate: bool) -> None:
    last = {"role": "user", "content": "x" * 2000}
    messages = [*turns(2), last] if truncate else turns(30)
    made = prepared(loaded, messages, truncate=truncate)
    assert isinstance(made, Failed)
    assert made.kind == "context_length_exceeded"
