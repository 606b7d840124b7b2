"""What a terminal can show beyond text: colour, and lines that change."""

import os
import sys
from typing import TextIO

import click


def coloured(text: str, colour: str) -> str:
    """Give `text` in `colour` where somebody sees it and has not declined it (no-color.org)."""
    if os.environ.get("NO_COLOR") or not is_screen(sys.stdout):
        return text
    return click.style(text, fg=colour)


def is_screen(stream: TextIO) -> bool:
    """Whether what was written to `stream` can be written over: a terminal, and no dumb one."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"
