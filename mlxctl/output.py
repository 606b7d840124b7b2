"""What a command prints for programs, where `--json` asks for it.

The names in it are in snake_case and stay; what is not known is null.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

_Command = TypeVar("_Command", bound=Callable[..., Any])


def json_option(help_text: str = "Print one JSON object.") -> Callable[[_Command], _Command]:
    """Give the option `--json`, which the command gets as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=help_text)


def print_json(value: object) -> None:
    """Print what msgspec can encode, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value)))
