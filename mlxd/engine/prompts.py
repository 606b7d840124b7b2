"""Prompts to tokens: chat templates, role prefixes, plain text, token ids."""

import inspect
from functools import cached_property
from typing import Any

from jinja2 import TemplateError
from mlx_lm.server import convert_chat, process_message_content
from msgspec import structs
from transformers import PreTrainedTokenizerBase

from mlxd.engine.fill_in_the_middle import fill_in_the_middle
from mlxd.engine.prompt_cache import common_length
from mlxd.engine.time_limit import within
from mlxd.errors import ContextLengthExceeded, InvalidRequest
from mlxd.messages import ChatPrompt, Prompt, Template, TextPrompt, TokensPrompt

_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_TEMPLATE_SECONDS = 5.0
_RESERVED_ARGUMENTS = set(
    inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters
) - {"add_generation_prompt", "continue_final_message", "documents", "kwargs"} | {"messages"}
"""Parameters of transformers' renderer that are not variables of a template."""
_SYSTEM_ROLES = ("system", "developer")
_LONGEST_UNCHECKED = 65536
_SHRINKING = 4
"""By how much a tokenizer's normalization may shorten a text."""

CONTENT_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What templates and mlx_lm's parsers raise for content that they cannot handle."""


class PromptReader:
    """Turns prompts into tokens, for one model."""

    def __init__(self, tokenizer: Any, context_length: int = 0) -> None:
        """Take mlx_lm's TokenizerWrapper, and the context length in tokens; 0 is no limit."""
        self._tokenizer = tokenizer
        self._context_length = context_length

    def read(self, prompt: Prompt, tools: list[dict[str, Any]] | None = None) -> list[int]:
        """Return the token ids of `prompt`, at least one; `tools` are passed to the template.

        Raises:
            InvalidRequest: the template rejects the messages, an id is outside the vocabulary, or
                the prompt is empty.
            ContextLengthExceeded: the context has no room for it and one token of the answer.
        """
        tokenizer = self._tokenizer
        match prompt:
            case ChatPrompt():
                text, param = _render(tokenizer, prompt, tools), "messages"
                self._check_text(text, param)
                # A template adds special tokens itself; with role prefixes the tokenizer does.
                special = not uses_template(tokenizer, prompt.template)
                tokens = list(tokenizer.encode(text, add_special_tokens=special))
            case TextPrompt():
                param = "prompt"
                self._check_text(prompt.text + prompt.suffix, param)
                if prompt.suffix:
                    tokens = fill_in_the_middle(tokenizer, prompt.text, prompt.suffix)
                else:
                    tokens = list(tokenizer.encode(prompt.text, add_special_tokens=prompt.special))
            case TokensPrompt():
                tokens, param = _check_ids(tokenizer, prompt.tokens), "prompt"
        if not tokens:
            raise InvalidRequest("the prompt is empty", param=param)
        if self._context_length and len(tokens) >= self._context_length:
            raise self._too_long(f"{len(tokens)} tokens", param)
        return tokens

    def boundaries(
        self, prompt: ChatPrompt, tools: list[dict[str, Any]] | None, tokens: list[int]
    ) -> tuple[int, ...]:
        """Return after how many of its tokens another conversation may part from this one.

        That is after the system prompt and the tools, before the last turn of the user, and where
        the answer begins once it is history, when a template may leave out its thoughts; 0 where
        there is no such place.
        """
        messages = prompt.messages
        roles = [message.get("role") for message in messages]
        system = next((i for i, role in enumerate(roles) if role not in _SYSTEM_ROLES), 0)
        last_user = max((i for i, role in enumerate(roles) if role == "user"), default=0)
        question, answer = ({"role": role, "content": ""} for role in ("user", "assistant"))
        beginnings: list[list[dict[str, Any]]] = []
        if system or tools:
            beginnings.append([*messages[:system], question])
        if last_user > system:
            beginnings.append([*messages[:last_user], question])
        beginnings.append([*messages, answer, question])
        text = _render(self._tokenizer, prompt, tools)
        places = [self._parting(prompt, tools, text, beginning) for beginning in beginnings]
        shared = (0,) if not (system or tools) else ()
        return shared + tuple(self._tokens_before(place, text, tokens) for place in places)

    def _parting(
        self,
        prompt: ChatPrompt,
        tools: list[dict[str, Any]] | None,
        text: str,
        messages: list[dict[str, Any]],
    ) -> int:
        """Return how many characters of a prompt's text come from its first messages."""
        arguments = {**prompt.template.arguments, "add_generation_prompt": False}
        template = structs.replace(prompt.template, arguments=arguments)
        try:
            beginning = _render(self._tokenizer, ChatPrompt(messages, template), tools)
        except InvalidRequest:  # some templates want more than one empty message
            return 0
        return common_length(text, beginning)

    def _tokens_before(self, position: int, text: str, tokens: list[int]) -> int:
        """Return how many tokens the first `position` characters of a text are."""
        if 2 * position > len(text):
            rest = list(self._tokenizer.encode(text[position:], add_special_tokens=False))
            if rest and tokens[-len(rest) :] == rest:
                return len(tokens) - len(rest)
        beginning = self._tokenizer.encode(text[:position], add_special_tokens=False)
        return common_length(tokens, list(beginning))

    def _check_text(self, text: str, param: str) -> None:
        """Reject a text that cannot fit before the work of tokenizing it."""
        if not self._context_length or len(text) <= _LONGEST_UNCHECKED:
            return
        least = len(text) // (self._longest_token * _SHRINKING)
        if least > self._context_length:
            raise self._too_long(f"{len(text)} characters, at least {least} tokens", param)

    @cached_property
    def _longest_token(self) -> int:
        """The length in characters of the longest token, at least 1."""
        return max(map(len, self._tokenizer.get_vocab()), default=1)

    def _too_long(self, size: str, param: str) -> ContextLengthExceeded:
        return ContextLengthExceeded(
            f"the prompt has {size}; the model's context holds {self._context_length} "
            "with the answer",
            param=param,
        )


def uses_template(tokenizer: Any, template: Template) -> bool:
    """Return whether a chat is rendered by a Jinja template, not by prefixes for the roles."""
    if template.role_mapping is not None:
        return False
    return bool(tokenizer.has_chat_template or template.source or template.default)


def begins_in_reasoning(tokenizer: Any, tokens: list[int]) -> bool:
    """Return whether the prompt ends inside a thought, which the answer then continues."""
    if tokenizer.response_initial_state:
        return bool(tokenizer.response_initial_state == "reasoning")
    if not tokenizer.has_thinking:
        return False
    return bool(tokenizer.rfind_think_start(tokens) > tokenizer.rfind_think_end(tokens))


def _render(tokenizer: Any, prompt: ChatPrompt, tools: list[Any] | None) -> str:
    template, messages = prompt.template, prompt.messages
    for name in template.arguments:
        if name in _RESERVED_ARGUMENTS:
            reason = f"{name!r} cannot be set by a request"
            raise InvalidRequest(reason, param="chat_template_kwargs")
    param = "chat_template" if template.source else "messages"
    try:
        process_message_content(messages)
        if not uses_template(tokenizer, template):
            return str(convert_chat(messages, template.role_mapping))
        if not template.source:
            return _apply(tokenizer, template, messages, tools)
        # The model's own template is trusted; one in a request is not.
        return within(_TEMPLATE_SECONDS, lambda: _apply(tokenizer, template, messages, tools))
    except TimeoutError:
        reason = f"the chat template took more than {_TEMPLATE_SECONDS:g} s"
        raise InvalidRequest(reason, param=param) from None
    except (TemplateError, *CONTENT_ERRORS) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = f"the chat template rejected the messages: {reason}"
        raise InvalidRequest(reason, param=param) from error


def _apply(
    tokenizer: Any, template: Template, messages: list[dict[str, Any]], tools: list[Any] | None
) -> str:
    arguments: dict[str, Any] = {"add_generation_prompt": True, **template.arguments}
    if arguments.get("continue_final_message"):
        arguments["add_generation_prompt"] = False
    renderer = tokenizer
    if template.source or not tokenizer.has_chat_template:
        arguments.setdefault("enable_thinking", tokenizer.has_thinking)
        arguments["chat_template"] = template.source or _CHATML
        # Past the wrapper: a model with its own renderer would ignore the template.
        renderer = tokenizer._tokenizer
    return str(renderer.apply_chat_template(messages, tools=tools, tokenize=False, **arguments))


def _check_ids(tokenizer: Any, tokens: list[int]) -> list[int]:
    size = len(tokenizer)
    for index, token in enumerate(tokens):
        if not 0 <= token < size:
            reason = f"token ID {token} is outside the vocabulary of {size}"
            raise InvalidRequest(reason, param=f"prompt[{index}]")
    return tokens
