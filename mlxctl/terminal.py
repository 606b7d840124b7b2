"""What commands print: figures, tables, color, a progress line, and JSON for programs.

JSON names are in snake_case and stable; an unknown value is null.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO, TypeVar

import click
import msgspec

_ERASE_LINE = "\r\x1b[K"

_Command = TypeVar("_Command", bound=Callable[..., Any])
CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"
}
"""What `str.translate` needs to show control characters instead of sending them to a terminal."""


def duration(seconds: float) -> str:
    """Return the two largest units of a time: "4 s", "3 min 12 s", "2 h 5 min", "6 d 1 h"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def harmless(text: str) -> str:
    """Return text of a model or an engine for standard output.

    On a terminal, its control characters are only shown: they could set the clipboard, hide text
    or answer for the user. A file or a pipe gets the text as it is.
    """
    return text.translate(CONTROLS) if sys.stdout.isatty() else text


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path as text, with "~" for the home folder."""
    text, home = os.fspath(path), os.path.expanduser("~")
    return f"~{text.removeprefix(home)}" if text.startswith(f"{home}/") and home != "/" else text


def table(rows: Sequence[Sequence[str]], notes: Sequence[str | None] = ()) -> str:
    """Return `rows`, all of the same length, as lines with aligned columns.

    `notes` are for the last rows, one each; a note follows its row, indented.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    notes = [None] * (len(rows) - len(notes)) + [*notes]
    lines = []
    for row, note in zip(rows, notes, strict=True):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
        if note:
            lines.append(f"  {note}")
    return "\n".join(lines)


def colored(text: str, color: str) -> str:
    """Return `text` in `color` on a screen, unless NO_COLOR is set (no-color.org)."""
    if os.environ.get("NO_COLOR") or not is_screen(sys.stdout):
        return text
    return click.style(text, fg=color)


def is_screen(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that understands control sequences."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


class ProgressLine:
    """A line on standard error that `show` replaces and `erase` removes; only on a screen."""

    def __init__(self) -> None:
        self._shown = False

    def show(self, text: str) -> None:
        """Show `text` instead of the previous text."""
        if is_screen(sys.stderr):
            self._shown = True
            click.echo(f"{_ERASE_LINE}{text}", nl=False, err=True)

    def erase(self) -> None:
        """Remove the line."""
        if self._shown:
            self._shown = False
            click.echo(_ERASE_LINE, nl=False, err=True)

    @contextlib.contextmanager
    def during_background_work(self, if_interrupted: str) -> Iterator[None]:
        """Erase the line at the end; on Ctrl-C, print `if_interrupted`."""
        try:
            yield
        except KeyboardInterrupt:
            self.erase()
            remark(if_interrupted)
            raise click.Abort from None
        finally:
            self.erase()


def json_option(help_text: str = "Print one JSON object.") -> Callable[[_Command], _Command]:
    """Return the option `--json`, which the command receives as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=help_text)


def print_json(value: object) -> None:
    """Print what msgspec can encode, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value)))


def print_result(value: object, text: str, *, as_json: bool) -> None:
    """Print `value` as JSON, or else `text`."""
    if as_json:
        print_json(value)
    else:
        click.echo(text)


def remark(text: str) -> None:
    """Print a line beside the result, on standard error."""
    click.echo(f"mlxctl: {text}", err=True)
