"""Prompts to tokens: chat templates, plain text, token ids."""

from typing import Any

from jinja2 import TemplateError
from mlx_lm.server import convert_chat, process_message_content

from mlxd.messages import ChatPrompt, TextPrompt, TokensPrompt


class BadPrompt(Exception):
    """The prompt cannot be made into tokens; `param` is the field of the request at fault."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


def tokenize(tokenizer: Any, prompt: ChatPrompt | TextPrompt | TokensPrompt) -> list[int]:
    """Give the token ids of `prompt`, at least one.

    Raises:
        BadPrompt: when the template refuses the messages, an id is outside the vocabulary, or
            nothing is left to generate from.
    """
    match prompt:
        case ChatPrompt():
            tokens, param = _render_chat(tokenizer, prompt.messages), "messages"
        case TextPrompt():
            tokens, param = tokenizer.encode(prompt.text), "prompt"
        case TokensPrompt():
            tokens, param = _check_ids(tokenizer, prompt.tokens), "prompt"
    if not tokens:
        raise BadPrompt("the prompt is empty", param)
    return tokens


def _render_chat(tokenizer: Any, messages: list[dict[str, Any]]) -> list[int]:
    try:
        process_message_content(messages)
        if not tokenizer.has_chat_template:
            return list(tokenizer.encode(convert_chat(messages)))
        return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True))
    except (
        TemplateError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        reason = " ".join(str(error).split())
        raise BadPrompt(f"the chat template refused the messages: {reason}", "messages") from error


def _check_ids(tokenizer: Any, tokens: list[int]) -> list[int]:
    size = len(tokenizer)
    for index, token in enumerate(tokens):
        if not 0 <= token < size:
            raise BadPrompt(
                f"token id {token} is outside the vocabulary of {size}", f"prompt[{index}]"
            )
    return tokens
