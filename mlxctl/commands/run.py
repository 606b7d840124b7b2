"""`mlxctl run`: ask the model something and show its answer as it comes."""

import sys

import click
from msgspec import UNSET

from mlxctl.arguments import finite, unicode_text, unicode_words
from mlxctl.client import connect
from mlxctl.errors import CommandFailed
from mlxctl.shell_completion import model_names
from mlxctl.streaming import ChatMessage, Request, StreamedAnswer, receive
from mlxctl.terminal import json_option, print_json

_STDIN = "-"


@click.command()
@click.argument("prompt", nargs=-1, callback=unicode_words)
@click.option(
    "-m",
    "--model",
    metavar="MODEL",
    callback=unicode_text,
    shell_complete=model_names,
    help="Ask this model instead of the default one.",
)
@click.option(
    "--system", metavar="TEXT", callback=unicode_text, help="A system message to begin with."
)
@click.option("--max-tokens", type=int, metavar="N", help="How long the answer may get.")
@click.option(
    "--temperature",
    type=float,
    metavar="T",
    callback=finite,
    help="How much is left to chance; 0 always takes the likeliest token.",
)
@json_option("Print one JSON object at the end.")
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

    \b
    Examples:
      mlxctl run "What is the capital of France?"
      git diff | mlxctl run "Write a commit message for this." --max-tokens 100
    """
    messages = [ChatMessage("system", system)] if system is not None else []
    messages.append(ChatMessage("user", _question(prompt)))
    request = Request(
        messages=messages,
        model=UNSET if model is None else model,
        max_tokens=UNSET if max_tokens is None else max_tokens,
        temperature=UNSET if temperature is None else temperature,
    )
    answer = StreamedAnswer()
    receive(connect(), request, answer, show=not as_json)
    if as_json:
        print_json(answer)


def _question(prompt: tuple[str, ...]) -> str:
    words = " ".join(word for word in prompt if word != _STDIN)
    asked = _STDIN in prompt
    piped = _standard_input() if asked or not sys.stdin.isatty() else ""
    if asked and not piped.strip():
        raise _wrong_usage("standard input is empty.")
    question = "\n\n".join(part for part in (words, piped) if part.strip())
    if not question:
        raise _wrong_usage("no prompt; give one, or pipe one in.")
    return question


def _standard_input() -> str:
    data = sys.stdin.buffer.read()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CommandFailed(f"standard input is not UTF-8 at byte {error.start}") from error


def _wrong_usage(message: str) -> click.UsageError:
    return click.UsageError(message, click.get_current_context())
