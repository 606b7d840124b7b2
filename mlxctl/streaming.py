"""A chat request as mlxctl sends it, and its answer as it streams in."""

import sys
import time
from collections.abc import Iterable, Iterator

import click
import msgspec
from msgspec import UNSET, UnsetType

from mlxctl.client import Client, ErrorDetail
from mlxctl.errors import NoAnswer, RefusedByDaemon
from mlxctl.http import sse_fields
from mlxctl.terminal import ProgressLine

_PATH = "/v1/chat/completions"
_DONE = b"[DONE]"


class ChatMessage(msgspec.Struct):
    """One message of the conversation."""

    role: str
    content: str


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = True


class Request(msgspec.Struct, kw_only=True):
    """A request for a streamed answer; the daemon decides what is UNSET."""

    messages: list[ChatMessage]
    model: str | UnsetType = UNSET
    max_tokens: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    stream: bool = True
    stream_options: _StreamOptions = _StreamOptions()


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


class _Chunk(msgspec.Struct):
    """A piece of the answer; the last one has no choices, but the token counts."""

    model: str = ""
    choices: list[_Choice] = []
    usage: AnswerUsage | None = None
    error: ErrorDetail | None = None


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
    texts: list[str] = []
    progress = ProgressLine()
    try:
        with client.stream(_PATH, request) as lines:
            for chunk in _chunks(lines, progress):
                progress.erase()
                texts.append(_add(chunk, answer))
                if show:
                    # Not click.echo, which would strip control sequences from a piped answer.
                    sys.stdout.write(texts[-1])
                    sys.stdout.flush()
    finally:
        progress.erase()
        if show and any(texts):
            click.echo()
        answer.content = "".join(texts)
        answer.seconds = round(time.perf_counter() - began, 3)


def _chunks(lines: Iterable[bytes], progress: ProgressLine) -> Iterator[_Chunk]:
    """Yield the pieces of the answer; show what the daemon says meanwhile, like "loading 41%"."""
    for field, value in sse_fields(lines):
        if value == _DONE:
            return
        if field == "data":
            yield _decode(value)
        elif field == "":
            progress.show(value.decode(errors="replace"))
    raise NoAnswer("the reply ended early: mlxd did not finish its answer")


def _decode(data: bytes) -> _Chunk:
    try:
        chunk = msgspec.json.decode(data, type=_Chunk)
    except msgspec.DecodeError as error:
        raise NoAnswer(f"mlxd sent an invalid piece of an answer: {error}") from error
    if chunk.error is not None:
        raise RefusedByDaemon(chunk.error.message)
    return chunk


def _add(chunk: _Chunk, answer: StreamedAnswer) -> str:
    """Add what `chunk` says about the answer to `answer`, and return its text."""
    answer.model = chunk.model
    answer.usage = chunk.usage or answer.usage
    text = ""
    for choice in chunk.choices:
        text += choice.delta.content or ""
        answer.finish_reason = choice.finish_reason or answer.finish_reason
    return text
