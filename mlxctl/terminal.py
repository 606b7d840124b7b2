"""What commands print: figures, tables, colour, a progress line, and JSON for programs.

The names in the JSON are in snake_case and stay; what is not known is null.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO, TypeVar

import click
import msgspec

_THOUSANDS = ("thousand", "million", "billion", "trillion")


def count(number: int) -> str:
    """Give a number of things as "115 thousand", "135 million" or "3.2 billion"."""
    if number < 1000:
        return str(number)
    value = float(number)
    for unit in _THOUSANDS:
        value /= 1000
        if value < 999.5 or unit == _THOUSANDS[-1]:
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def duration(seconds: float) -> str:
    """Give the two largest parts of a time: "4 s", "3 min 12 s", "2 h 5 min", "6 d 1 h"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def shown(path: str | os.PathLike[str]) -> str:
    """Give a path as a person writes it, from "~" on where it is in their home."""
    text, home = os.fspath(path), os.path.expanduser("~")
    return f"~{text.removeprefix(home)}" if text.startswith(f"{home}/") and home != "/" else text


def table(rows: Sequence[Sequence[str]]) -> str:
    """Give `rows`, all of the same length, as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def coloured(text: str, colour: str) -> str:
    """Give `text` in `colour` where somebody sees it and has not declined it (no-color.org)."""
    if os.environ.get("NO_COLOR") or not is_screen(sys.stdout):
        return text
    return click.style(text, fg=colour)


def is_screen(stream: TextIO) -> bool:
    """Whether what was written to `stream` can be written over: a terminal, and no dumb one."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


_ERASE_LINE = "\r\x1b[K"


class ProgressLine:
    """The line: `show` replaces it, `erase` takes it away."""

    def __init__(self) -> None:
        self._shown = False

    def show(self, text: str) -> None:
        """Show `text` instead of what was shown."""
        if is_screen(sys.stderr):
            self._shown = True
            click.echo(f"{_ERASE_LINE}{text}", nl=False, err=True)

    def erase(self) -> None:
        """Leave no line behind."""
        if self._shown:
            self._shown = False
            click.echo(_ERASE_LINE, nl=False, err=True)


_Command = TypeVar("_Command", bound=Callable[..., Any])


def json_option(help_text: str = "Print one JSON object.") -> Callable[[_Command], _Command]:
    """Give the option `--json`, which the command gets as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=help_text)


def print_json(value: object) -> None:
    """Print what msgspec can encode, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value)))
