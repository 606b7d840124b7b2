"""One answer, received and shown as it comes."""

import contextlib
import sys
import time

import click
import msgspec

from mlxctl.client import Client
from mlxctl.progress import ProgressLine
from mlxctl.streaming import Chunk, Progress, Request, Usage, ask


class Answer(msgspec.Struct, kw_only=True):
    """What has come; `seconds` is from the question to the end of the answer."""

    model: str = ""
    content: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    seconds: float = 0.0


def receive(client: Client, request: Request, answer: Answer, *, show: bool) -> None:
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
                if isinstance(piece, Progress):
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


def _take(answer: Answer, chunk: Chunk) -> str:
    """Put what `chunk` says of the answer into `answer`, and give its text."""
    answer.model = chunk.model
    answer.usage = chunk.usage or answer.usage
    text = ""
    for choice in chunk.choices:
        text += choice.delta.content or ""
        answer.finish_reason = choice.finish_reason or answer.finish_reason
    return text
