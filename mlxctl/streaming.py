"""A chat as mlxctl sends it, and its streamed answer as it arrives."""

import contextlib
import sys
import time
from collections.abc import Generator

import click
import msgspec
from msgspec import UNSET, UnsetType

from mlxctl.client import Client, ErrorDetail
from mlxctl.errors import NoAnswer, RefusedByDaemon
from mlxctl.terminal import ProgressLine

_PATH = "/v1/chat/completions"
_DONE = b"data: [DONE]"


class ChatMessage(msgspec.Struct):
    """One message of the conversation."""

    role: str
    content: str


class _StreamOptions(msgspec.Struct, frozen=True):
    """Asks for the token counts at the end of a stream."""

    include_usage: bool = True


class Request(msgspec.Struct, kw_only=True):
    """A request for a streamed answer; what is UNSET is the daemon's choice."""

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
    """What a chunk adds."""

    content: str | None = None


class _Choice(msgspec.Struct):
    """One answer; there is no other."""

    delta: _Delta
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    """A piece of the answer; the last one has no choice and the token counts."""

    model: str = ""
    choices: list[_Choice] = []
    usage: AnswerUsage | None = None
    error: ErrorDetail | None = None


class WaitComment(msgspec.Struct):
    """What the daemon says of a request whose answer has not begun, such as "loading 41%"."""

    text: str


def ask(client: Client, request: Request) -> Generator[WaitComment | Chunk, None, None]:
    """Send `request` and give its answer piece by piece; closing the iterator aborts it.

    Raises:
        CommandFailed: as the methods of `Client` do, also after the first piece.
    """
    with client.stream(_PATH, request) as lines:
        for line in lines:
            kind, _, value = line.partition(b": ")
            if line == _DONE:
                return
            if kind == b"data":
                yield _decode(value)
            elif line.startswith(b":"):
                yield WaitComment(value.decode(errors="replace"))
    raise NoAnswer("the reply ended early: mlxd sent no end of the answer")


def _decode(data: bytes) -> Chunk:
    try:
        chunk = msgspec.json.decode(data, type=Chunk)
    except msgspec.DecodeError as error:
        raise NoAnswer(f"mlxd sent what is no piece of an answer: {error}") from error
    if chunk.error is not None:
        raise RefusedByDaemon(chunk.error.message)
    return chunk


class StreamedAnswer(msgspec.Struct, kw_only=True):
    """What has come; `seconds` is from the question to the end of the answer."""

    model: str = ""
    content: str = ""
    finish_reason: str | None = None
    usage: AnswerUsage | None = None
    seconds: float = 0.0


def receive(client: Client, request: Request, answer: StreamedAnswer, *, show: bool) -> None:
    """Send `request`, fill `answer`, and show it as it comes where `show` is set.

    What has come until something is raised, Ctrl-C too, is in `answer` all the same.

    Raises:
        CommandFailed: as `mlxctl.streaming.ask` does.
    """
    began = time.perf_counter()
    texts: list[str] = []
    progress = ProgressLine()
    try:
        with contextlib.closing(ask(client, request)) as pieces:
            for piece in pieces:
                if isinstance(piece, WaitComment):
                    progress.show(piece.text)
                    continue
                progress.erase()
                texts.append(_take(answer, piece))
                if show:
                    # Not click.echo, which would take control sequences out of a piped answer.
                    sys.stdout.write(texts[-1])
                    sys.stdout.flush()
    finally:
        progress.erase()
        if show and any(texts):
            click.echo()
        answer.content = "".join(texts)
        answer.seconds = round(time.perf_counter() - began, 3)


def _take(answer: StreamedAnswer, chunk: Chunk) -> str:
    """Put what `chunk` says of the answer into `answer`, and give its text."""
    answer.model = chunk.model
    answer.usage = chunk.usage or answer.usage
    text = ""
    for choice in chunk.choices:
        text += choice.delta.content or ""
        answer.finish_reason = choice.finish_reason or answer.finish_reason
    return text
