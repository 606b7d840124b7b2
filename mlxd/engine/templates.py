"""Conversations to text: a model's chat template, a request's, or role prefixes."""

import inspect
from typing import Any

from jinja2 import TemplateError
from mlx_lm.server import convert_chat
from transformers import PreTrainedTokenizerBase

from mlxd.engine.request_template import CONTENT_ERRORS, refusal_of
from mlxd.engine.sandbox import SandboxSession
from mlxd.errors import InvalidRequest
from mlxd.generate_request import Template

Chat = list[dict[str, Any]]

LONGEST_TEMPLATE = 256 * 1024
"""How many characters a template that a request brings may have."""

REFUSALS = (TemplateError, MemoryError, *CONTENT_ERRORS)
"""What `render` raises for a conversation that the template does not take."""

_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_RESERVED_ARGUMENTS = set(
    inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters
) - {"add_generation_prompt", "continue_final_message", "documents", "kwargs"} | {"messages"}
"""Parameters of transformers' renderer that are not variables of a template."""


def uses_template(tokenizer: Any, template: Template) -> bool:
    """Return whether a chat is rendered by a Jinja template, not by prefixes for the roles."""
    if template.role_mapping is not None:
        return False
    return bool(tokenizer.has_chat_template or template.source or template.default)


def template_sources(tokenizer: Any, template: Template) -> list[str]:
    """Return the Jinja sources that may render a chat; none where a model's own code does."""
    if not uses_template(tokenizer, template):
        return []
    source = template.source or tokenizer.chat_template
    if source is None:
        return [] if tokenizer.has_chat_template else [_CHATML]
    return list(source.values()) if isinstance(source, dict) else [source]


def check_arguments(arguments: dict[str, Any]) -> None:
    """Refuse arguments that would not reach the template, but its renderer."""
    for name in arguments:
        if name in _RESERVED_ARGUMENTS:
            reason = f"{name!r} cannot be set by a request"
            raise InvalidRequest(reason, param="chat_template_kwargs")


def is_foreign(template: Template) -> bool:
    """Return whether a request brought a template's source, which then is not to be trusted."""
    return template.source is not None and not template.trusted


def render(
    tokenizer: Any,
    template: Template,
    messages: Chat,
    tools: list[dict[str, Any]] | None,
    session: SandboxSession | None = None,
) -> str:
    """Return the text of a conversation; raises one of REFUSALS where the template refuses it.

    A template that a request brought needs a `session`, and raises what its `run` raises.
    """
    if not uses_template(tokenizer, template):
        return str(convert_chat(messages, template.role_mapping))
    arguments: dict[str, Any] = {"add_generation_prompt": True, **template.arguments}
    if arguments.get("continue_final_message"):
        arguments["add_generation_prompt"] = False
    renderer = tokenizer
    if template.source or not tokenizer.has_chat_template:
        arguments.setdefault("enable_thinking", tokenizer.has_thinking)
        if session is not None and is_foreign(template):
            special = {name: str(text) for name, text in tokenizer.special_tokens_map.items()}
            job = {
                "source": template.source,
                "messages": messages,
                "tools": tools,
                "arguments": arguments,
                "special_tokens": special,
            }
            answer = session.run("template", job)
            if (refusal := refusal_of(answer)) is not None:
                raise refusal
            return str(answer["text"])
        arguments["chat_template"] = template.source or _CHATML
        # Past the wrapper: a model with its own renderer would ignore the template.
        renderer = tokenizer._tokenizer
    return str(renderer.apply_chat_template(messages, tools=tools, tokenize=False, **arguments))
