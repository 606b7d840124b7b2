"""`mlxctl version`: mlxctl's version and the running daemon's."""

import contextlib

import click
import msgspec

from mlxctl.client import connect
from mlxctl.errors import NotRunning
from mlxctl.service.pidfile import owner
from mlxctl.terminal import json_option, print_json
from mlxd import __version__, control_api, paths
from mlxd.control_api import Status


class Versions(msgspec.Struct):
    """What `--json` prints; the daemon's are null where none runs."""

    mlxctl: str
    mlxd: str | None = None
    pid: int | None = None


@click.command()
@json_option()
def version(*, as_json: bool) -> None:
    """Show mlxctl's version and, when it runs, the daemon's."""
    if as_json:
        versions = Versions(__version__)
        if (status := _status()) is not None:
            versions = Versions(__version__, status.version, status.pid)
        print_json(versions)
        return
    click.echo(f"mlxctl {__version__}")
    if (status := _status()) is None:
        click.echo("mlxd is not running")
    else:
        click.echo(f"mlxd {status.version} (pid {status.pid})")


def _status() -> Status | None:
    # Where launchd or systemd listens, asking would start what does not run.
    if owner(paths.lock_file()) is None:
        return None
    with contextlib.suppress(NotRunning):  # not yet
        return connect().call(control_api.STATUS)
    return None
