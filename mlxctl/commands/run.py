"""`mlxctl run`: send a prompt to a model and print its answer."""

import math
import sys

import click

from mlxctl.arguments import model_option, system_option
from mlxctl.client import connect
from mlxctl.errors import CommandFailed
from mlxctl.streaming import ChatMessage, Request, StreamedAnswer, receive
from mlxctl.terminal import json_option, print_json

_STDIN = "-"


def _finite(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):  # JSON has no such numbers
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


@click.command()
@click.argument("prompt", nargs=-1)
@model_option
@system_option
@click.option("--max-tokens", type=int, metavar="N", help="Maximum number of tokens to generate.")
@click.option(
    "--temperature",
    type=float,
    metavar="T",
    callback=_finite,
    help="Sampling temperature; 0 always picks the most likely token.",
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
    """Send PROMPT to a model and print its answer as it is generated.

    Piped input is appended to PROMPT after a blank line; without PROMPT, it is the prompt. "-"
    reads standard input even if it is a terminal.

    \b
    Examples:
      mlxctl run "What is the capital of France?"
      git diff | mlxctl run "Write a commit message for this." --max-tokens 100
    """
    messages = [ChatMessage("system", system)] if system is not None else []
    messages.append(ChatMessage("user", _question(prompt)))
    request = Request(
        messages=messages, model=model, max_tokens=max_tokens, temperature=temperature
    )
    answer = StreamedAnswer()
    receive(connect(), request, answer, show=not as_json)
    if as_json:
        print_json(answer)


def _question(prompt: tuple[str, ...]) -> str:
    words = " ".join(word for word in prompt if word != _STDIN)
    asked = _STDIN in prompt
    try:
        piped = sys.stdin.buffer.read().decode() if asked or not sys.stdin.isatty() else ""
    except UnicodeDecodeError as error:
        raise CommandFailed(f"standard input is not UTF-8 at byte {error.start}") from error
    if asked and not piped.strip():
        raise click.UsageError("standard input is empty.")
    question = "\n\n".join(part for part in (words, piped) if part.strip())
    if not question:
        raise click.UsageError("no prompt: pass it as an argument or pipe it in.")
    return question
