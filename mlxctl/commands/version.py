"""`mlxctl version`: mlxctl's version and the running daemon's."""

import click

from mlxctl.client import Client
from mlxctl.errors import NotRunning
from mlxctl.service.choose import in_charge
from mlxd import __version__, config


@click.command()
def version() -> None:
    """Show mlxctl's version and, when it runs, the daemon's."""
    click.echo(f"mlxctl {__version__}")
    settings = config.load()
    manager = in_charge(settings)
    try:
        # Where launchd or systemd listens, asking would start what does not run.
        if manager.pid() is None and manager.keeps_sockets():
            raise NotRunning
        status = Client(settings.socket_file()).status()
    except NotRunning:
        click.echo("mlxd is not running")
    else:
        click.echo(f"mlxd {status.version} (pid {status.pid})")
