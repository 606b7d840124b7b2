"""`mlxctl run`: ask the model something and show its answer as it comes."""

import contextlib
import sys
import time

import click
import msgspec
from msgspec import UNSET

from mlxctl.arguments import finite, unicode_text, unicode_words
from mlxctl.chat import Chunk, Message, Progress, Request, Usage, ask
from mlxctl.client import connect
from mlxctl.errors import CommandFailed
from mlxctl.progress import ProgressLine

_STDIN = "-"


class Answer(msgspec.Struct, kw_only=True):
    """What `--json` prints; `seconds` is from the question to the end of the answer."""

    model: str = ""
    content: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    seconds: float = 0.0


@click.command()
@click.argument("prompt", nargs=-1, callback=unicode_words)
@click.option(
    "-m", "--model", callback=unicode_text, help="Ask this model instead of the default one."
)
@click.option("--system", callback=unicode_text, help="A system message to begin with.")
@click.option("--max-tokens", type=int, help="How long the answer may get.")
@click.option(
    "--temperature", type=float, callback=finite, help="0 always takes the likeliest token."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def run(
    prompt: tuple[str, ...],
    model: str | None,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
    *,
    as_json: bool,
) -> None:
    """Ask the model PROMPT and show its answer as it comes.

    What is piped in is added to PROMPT after a blank line, or is the prompt when there is none;
    "-" reads standard input even from a terminal.
    """
    messages = [Message("system", system)] if system is not None else []
    messages.append(Message("user", _question(prompt)))
    request = Request(
        messages=messages,
        model=UNSET if model is None else model,
        max_tokens=UNSET if max_tokens is None else max_tokens,
        temperature=UNSET if temperature is None else temperature,
    )
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(_answer(request, show=False))))
    else:
        _answer(request, show=True)


def _answer(request: Request, *, show: bool) -> Answer:
    """Give the answer to `request`, and show it as it comes where `show` is set."""
    began = time.perf_counter()
    answer = Answer()
    texts: list[str] = []
    progress = ProgressLine()
    try:
        with contextlib.closing(ask(connect(), request)) as pieces:
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
    return answer


def _take(answer: Answer, chunk: Chunk) -> str:
    """Put what `chunk` says of the answer into `answer`, and give its text."""
    answer.model = chunk.model
    answer.usage = chunk.usage or answer.usage
    text = ""
    for choice in chunk.choices:
        text += choice.delta.content or ""
        answer.finish_reason = choice.finish_reason or answer.finish_reason
    return text


def _question(prompt: tuple[str, ...]) -> str:
    words = " ".join(word for word in prompt if word != _STDIN)
    asked = _STDIN in prompt
    piped = _standard_input() if asked or not _on_terminal() else ""
    if asked and not piped.strip():
        raise _wrong_usage("standard input is empty.")
    question = "\n\n".join(part for part in (words, piped) if part.strip())
    if not question:
        raise _wrong_usage("no prompt; give one, or pipe one in.")
    return question


def _on_terminal() -> bool:
    # Python has no standard input where the file descriptor was closed.
    return sys.stdin is None or sys.stdin.isatty()


def _standard_input() -> str:
    data = sys.stdin.buffer.read()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CommandFailed(f"standard input is not UTF-8 at byte {error.start}") from error


def _wrong_usage(message: str) -> click.UsageError:
    return click.UsageError(message, click.get_current_context())
