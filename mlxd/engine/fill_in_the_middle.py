"""Prompts of models that fill a gap: the text before it, the text after it, and what marks both."""

from typing import Any

from mlxd.errors import InvalidRequest

_BEFORE, _AFTER = "before", "after"


_Form = tuple[str, ...]
"""The parts of a prompt: tokens, and `_BEFORE` and `_AFTER` for the texts around the gap."""

# As the cards of the models show them; the last ones put what comes after the gap first.
_FORMS: tuple[_Form, ...] = (
    # Qwen, CodeGemma, Granite 4
    ("<|fim_prefix|>", _BEFORE, "<|fim_suffix|>", _AFTER, "<|fim_middle|>"),
    # StarCoder, Granite, Stable Code
    ("<fim_prefix>", _BEFORE, "<fim_suffix>", _AFTER, "<fim_middle>"),
    # SantaCoder
    ("<fim-prefix>", _BEFORE, "<fim-suffix>", _AFTER, "<fim-middle>"),
    # DeepSeek
    ("<｜fim▁begin｜>", _BEFORE, "<｜fim▁hole｜>", _AFTER, "<｜fim▁end｜>"),
    # CodeLlama
    ("▁<PRE>", _BEFORE, "▁<SUF>", _AFTER, "▁<MID>"),
    # Codestral
    ("[SUFFIX]", _AFTER, "[PREFIX]", _BEFORE),
    # Seed-Coder
    ("<[fim-suffix]>", _AFTER, "<[fim-prefix]>", _BEFORE, "<[fim-middle]>"),
    # CodeGeeX
    ("<|code_suffix|>", _AFTER, "<|code_prefix|>", _BEFORE, "<|code_middle|>"),
)
_ENDS = (
    "<|endoftext|>",
    "<|fim_pad|>",
    "<|file_sep|>",
    "<|file_separator|>",
    "<file_sep>",
    "▁<EOT>",
)
"""Tokens with which models end what they fill in, besides those that end every answer."""


def fill_in_the_middle(tokenizer: Any, before: str, after: str) -> list[int]:
    """Return the tokens of a prompt whose answer belongs between two texts.

    Args:
        tokenizer: mlx_lm's TokenizerWrapper.
        before: the text before the gap.
        after: the text after it.

    Raises:
        InvalidRequest: the tokenizer has no tokens for it.
    """
    vocabulary = tokenizer.get_vocab()
    form = next((form for form in _FORMS if _has(vocabulary, form)), None)
    if form is None:
        reason = "`suffix`: the model's tokenizer has no tokens to fill in the middle"
        raise InvalidRequest(reason, param="suffix")
    texts = {_BEFORE: before, _AFTER: after}
    tokens = [token for token in tokenizer.encode("") if token == tokenizer.bos_token_id]
    for part in form:
        if part in texts:
            tokens += tokenizer.encode(texts[part], add_special_tokens=False)
        else:
            tokens.append(vocabulary[part])
    return tokens


def gap_ends(tokenizer: Any) -> tuple[int, ...]:
    """Return the ids of the tokens that end what a model fills in."""
    vocabulary = tokenizer.get_vocab()
    return tuple(vocabulary[end] for end in _ENDS if end in vocabulary)


def _has(vocabulary: dict[str, int], form: _Form) -> bool:
    marks = [part for part in form if part not in (_BEFORE, _AFTER)]
    return all(mark in vocabulary for mark in marks)
