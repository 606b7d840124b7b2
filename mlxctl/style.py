"""Colour, where somebody sees it and has not declined it (https://no-color.org)."""

import os
import sys

import click


def coloured(text: str, colour: str) -> str:
    """Give `text` in `colour` for a terminal, as it is for anything else."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty():
        return text
    return click.style(text, fg=colour)
