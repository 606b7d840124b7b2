"""`mlxctl version`: the versions of mlxctl and of the running daemon."""

import contextlib

import click
import msgspec

from mlxctl.client import connect
from mlxctl.errors import NotRunning
from mlxctl.terminal import json_option, print_result
from mlxd import __version__, control_api, lock, paths
from mlxd.control_api import Status


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
    if (status := _status()) is not None:
        versions = Versions(__version__, status.version, status.pid)
        daemon = f"mlxd {status.version} (pid {status.pid})"
    print_result(versions, f"mlxctl {__version__}\n{daemon}", as_json=as_json)


def _status() -> Status | None:
    # A connection would start the daemon if launchd or systemd listens.
    if lock.holder(paths.lock_file()) is None:
        return None
    with contextlib.suppress(NotRunning):  # it is just starting
        return connect().call(control_api.STATUS)
    return None
