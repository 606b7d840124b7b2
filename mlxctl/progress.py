"""One line on a terminal that tells how far the daemon is; nothing where there is none."""

import sys

import click

from mlxctl.style import is_screen

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
