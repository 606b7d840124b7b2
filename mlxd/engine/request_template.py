"""Templates that a request brought, as the process of a `Sandbox` renders them."""

from types import SimpleNamespace
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.exceptions import SecurityError
from transformers import PreTrainedTokenizerBase

CONTENT_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What templates and mlx_lm's parsers raise for content that they cannot handle."""


def render_alone(
    source: str,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    arguments: dict[str, Any],
    special_tokens: dict[str, Any],
) -> dict[str, str]:
    """Return `text`, or why the template refuses the messages: `refusal` and its `message`."""
    tokenizer: Any = SimpleNamespace(
        special_tokens_map=special_tokens, get_chat_template=lambda template, _tools: template
    )
    try:
        text = PreTrainedTokenizerBase.apply_chat_template(
            tokenizer, messages, tools=tools, chat_template=source, tokenize=False, **arguments
        )
    except (TemplateError, *CONTENT_ERRORS) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        refusal = next((name for name, kind in KINDS.items() if isinstance(error, kind)), "")
        return {"refusal": refusal, "message": message.encode(errors="backslashreplace").decode()}
    return {"text": str(text).encode(errors="replace").decode()}


KINDS: dict[str, type[TemplateError]] = {
    "security": SecurityError,
    "syntax": TemplateSyntaxError,
}
"""The refusals that are told apart."""


def refusal_of(answer: dict[str, str]) -> TemplateError | None:
    """Return the exception for what `render_alone` returned, None for a text."""
    if "text" in answer:
        return None
    message = answer["message"]
    match answer["refusal"]:
        case "security":
            return SecurityError(message)
        case "syntax":
            error = TemplateSyntaxError(message, lineno=1)
            error.translated = True  # the message has the place already
            return error
        case _:
            return TemplateError(message)
