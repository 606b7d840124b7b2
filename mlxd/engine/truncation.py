"""Conversations that are longer than the context: their oldest turns are left out."""

from collections.abc import Callable

from msgspec import structs

from mlxd.engine.prompts import RenderedChat
from mlxd.errors import ContextLengthExceeded
from mlxd.messages import ChatPrompt

_SYSTEM = ("system", "developer")
_ANSWER_SHARE = 4
"""A quarter of the context is kept for the answer, if it may be as long."""


def read_shortened(
    prompt: ChatPrompt,
    read: Callable[[ChatPrompt], RenderedChat],
    context_length: int,
    max_tokens: int | None,
) -> RenderedChat:
    """Return what `read` makes of as many turns as fit, with the system prompt before them.

    A turn begins with a message of the user. At least the last one is read. Raises what `read`
    raises for it alone.
    """
    most = context_length // _ANSWER_SHARE
    room = context_length - min(most if max_tokens is None else max_tokens, most)
    messages = prompt.messages
    system = next((i for i, m in enumerate(messages) if m.get("role") not in _SYSTEM), 0)
    turns = [i for i, m in enumerate(messages) if m.get("role") == "user" and i > system]
    starts = [system, *turns]

    def beginning_at(start: int) -> ChatPrompt:
        return structs.replace(prompt, messages=[*messages[:system], *messages[start:]])

    def fitting(start: int) -> RenderedChat | None:
        try:
            chat = read(beginning_at(start))
        except ContextLengthExceeded:
            return None
        return chat if len(chat.tokens) <= room else None

    best, least, end = fitting(starts[0]), 1, len(starts)
    if best is not None:
        return best
    while least < end:
        middle = (least + end) // 2
        if (chat := fitting(starts[middle])) is None:
            least = middle + 1
        else:
            best, end = chat, middle
    return best or read(beginning_at(starts[-1]))
