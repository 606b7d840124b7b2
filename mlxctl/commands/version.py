"""`mlxctl version`: the versions of mlxctl and of the running daemon."""

import click
import msgspec

from mlxctl.client import running_status
from mlxctl.terminal import json_option, print_result
from mlxd import __version__


class Versions(msgspec.Struct):
    """The output of `--json`; the daemon's values are null if it is not running."""

    mlxctl: str
    mlxd: str | None = None
    pid: int | None = None


@click.command()
@json_option()
def version(*, as_json: bool) -> None:
    """Show the versions of mlxctl and of the running daemon."""
    versions = Versions(__version__)
    daemon = "mlxd is not running"
    if (status := running_status()) is not None:
        versions = Versions(__version__, status.version, status.pid)
        daemon = f"mlxd {status.version} (pid {status.pid})"
    print_result(versions, f"mlxctl {__version__}\n{daemon}", as_json=as_json)
