"""`mlxctl version`: mlxctl's version and the running daemon's."""

import click

from mlxctl.client import connect
from mlxctl.errors import NotRunning
from mlxd import __version__


@click.command()
def version() -> None:
    """Show mlxctl's version and, when it runs, the daemon's."""
    click.echo(f"mlxctl {__version__}")
    try:
        status = connect().status()
    except NotRunning:
        click.echo("mlxd is not running")
    else:
        click.echo(f"mlxd {status.version} (pid {status.pid})")
