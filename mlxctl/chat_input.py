"""Reading chat messages from the terminal or a pipe."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

_QUOTES = '"""'
_PROMPT = "> "
_MORE = "… "
_HISTORY_LINES = 1000


def on_terminal() -> bool:
    """Whether the chat is interactive."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def messages() -> Iterator[str]:
    """Yield each message that is typed or piped in.

    A message continues after a line that ends with a backslash, and between triple quotes. On a
    terminal, Ctrl-C discards what was typed of it.
    """
    while True:
        try:
            message = _message()
        except KeyboardInterrupt:
            if not on_terminal():
                raise
            click.echo("\n(press Ctrl-D or type /exit to end the chat)")
        except EOFError:
            if on_terminal():
                click.echo()
            return
        else:
            yield message


@contextlib.contextmanager
def editing(history: Path, complete: Callable[[str], list[str]]) -> Iterator[None]:
    """Enable line editing, with a history in the file `history` and completion by TAB.

    `complete` receives the line and returns the possible completions of its last word.
    """
    try:
        import readline
    except ImportError:  # Python was built without it
        yield
        return

    def completed(_word: str, number: int) -> str | None:
        if number == 0:
            found[:] = [*complete(readline.get_line_buffer()), None]
        return found[number]

    found: list[str | None] = []
    readline.set_completer_delims(" ")
    readline.set_completer(completed)
    libedit = "libedit" in (readline.__doc__ or "")  # on macOS
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
    readline.set_history_length(_HISTORY_LINES)
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(history, os.O_WRONLY | os.O_CREAT, 0o600))
            readline.write_history_file(history)


def _message() -> str:
    lines: list[str] = []
    quoted = False
    while True:
        prompt = _MORE if lines else _PROMPT
        try:
            line = input(prompt if on_terminal() else "")
        except EOFError:
            if not lines:
                raise
            return "\n".join(lines)
        if not lines and not quoted and line.lstrip().startswith(_QUOTES):
            quoted, line = True, line.lstrip().removeprefix(_QUOTES)
        if quoted:
            lines.append(line.removesuffix(_QUOTES))
            if line.endswith(_QUOTES):
                return "\n".join(lines).strip("\n")
        elif line.endswith("\\"):
            lines.append(line.removesuffix("\\"))
        else:
            return "\n".join([*lines, line])
