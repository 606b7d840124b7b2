"""A chat request as mlxctl sends it, and its answer as it streams in."""

import contextlib
import sys
import time

import click
import msgspec

from mlxctl.client import Client, StreamEvent
from mlxctl.terminal import ProgressLine, harmless

_PATH = "/v1/chat/completions"


class ChatMessage(msgspec.Struct):
    """One message of the conversation."""

    role: str
    content: str


class Request(msgspec.Struct, kw_only=True):
    """A request for a streamed answer; the daemon decides what is None."""

    messages: list[ChatMessage]
    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    stream: bool = True
    stream_options: dict[str, bool] = msgspec.field(default_factory=lambda: {"include_usage": True})


class AnswerUsage(msgspec.Struct):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None


class _Chunk(StreamEvent):
    """A piece of the answer; the last one has no choices, but the token counts."""

    model: str = ""
    choices: tuple[_Choice, ...] = ()
    usage: AnswerUsage | None = None


class StreamedAnswer(msgspec.Struct, kw_only=True):
    """What has arrived; `seconds` is from sending the request to the end of the answer."""

    model: str = ""
    content: str = ""
    finish_reason: str | None = None
    usage: AnswerUsage | None = None
    seconds: float = 0.0


def receive(client: Client, request: Request, answer: StreamedAnswer, *, show: bool) -> None:
    """Send `request` and fill `answer`, printing it as it arrives if `show` is set.

    Whatever is raised, including KeyboardInterrupt, `answer` has what arrived before.

    Raises:
        CommandFailed: as the methods of `Client` do, also in the middle of the answer.
    """
    began = time.perf_counter()
    progress = ProgressLine()
    try:
        with contextlib.closing(client.stream(_PATH, request, _Chunk, progress.show)) as chunks:
            for chunk in chunks:
                progress.erase()
                text = _add(chunk, answer)
                if show:
                    # Not click.echo, which would strip control sequences from a piped answer.
                    sys.stdout.write(harmless(text))
                    sys.stdout.flush()
    finally:
        progress.erase()
        if show and answer.content:
            click.echo()
        answer.seconds = round(time.perf_counter() - began, 3)


def _add(chunk: _Chunk, answer: StreamedAnswer) -> str:
    """Add what `chunk` says about the answer to `answer`, and return its text."""
    answer.model = chunk.model
    answer.usage = chunk.usage or answer.usage
    text = ""
    for choice in chunk.choices:
        text += choice.delta.content or ""
        answer.finish_reason = choice.finish_reason or answer.finish_reason
    answer.content += text
    return text
