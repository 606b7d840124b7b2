"""`mlxctl start`, `stop`, `restart` and `reload`; install.py has `install`."""

import click

from mlxctl.client import connect
from mlxctl.service import homebrew
from mlxctl.service.choose import in_charge
from mlxctl.service.manager import ServiceManager
from mlxctl.terminal import json_option, print_result
from mlxd import config, control_api
from mlxd.config import Config
from mlxd.control_api import Status
from mlxd.errors import ConfigError


@click.command()
def start() -> None:
    """Start the daemon and wait until it answers.

    If it is installed as a service, launchd, Homebrew or systemd starts it.
    """
    settings = config.load()
    config.check(settings)
    manager = in_charge(settings)
    tell_start(manager, manager.pid())
    tell_faults(manager)


@click.command()
def stop() -> None:
    """Let running requests finish, then stop the daemon.

    A service starts again at the next login. To prevent that, run `mlxctl disable` or, for
    Homebrew's service, `brew services stop mlxd`.
    """
    manager = in_charge(_settings_to_stop())
    pid = manager.pid()
    manager.stop(report)
    if pid:
        click.echo(f"mlxd has stopped (pid {pid})")
    else:
        click.echo("mlxd was not running; it will no longer start on demand")
    if manager.is_homebrews:
        again = f"{homebrew.NAME} starts it again at the next login"
        report(f"{again}; to prevent that: brew services stop mlxd")


@click.command()
@json_option()
def reload(*, as_json: bool) -> None:
    """Take changes of the configuration that need no restart, and name those that need one.

    A mistake in the configuration leaves the running daemon as it is.
    """
    reply = connect().call(control_api.RELOAD)
    lines = [f"changed: {', '.join(reply.taken)}" if reply.taken else "nothing else has changed"]
    if not reply.taken and not reply.restart:
        lines = ["nothing has changed"]
    if reply.restart:
        lines.append(f"for {', '.join(reply.restart)}, run: mlxctl restart")
    print_result(reply, "\n".join(lines), as_json=as_json)


@click.command()
def restart() -> None:
    """Stop the daemon if it is running, then start it and wait until it answers.

    If mlxd was installed with `mlxctl install`, clients that connect during the restart wait for
    the new daemon. If it was not, connections are refused for about a second, and the new daemon
    keeps the flags and the MLXD_ variables of the old one; variables of this shell take precedence.
    """
    # Loaded first: a mistake in the configuration leaves the running daemon alone.
    settings = config.load()
    config.check(settings)
    manager = in_charge(settings)
    before = manager.pid()
    status = manager.restart(report)
    if before is not None:
        click.echo(f"mlxd has stopped (pid {before})")
    _tell_start(status, "has started", manager)
    tell_faults(manager)


def report(line: str) -> None:
    """Print a line on standard error."""
    click.echo(line, err=True)


def tell_start(manager: ServiceManager, before: int | None) -> None:
    """Start the daemon and print that it runs; `before` is the pid of one that ran already."""
    status = manager.start(report)
    _tell_start(status, "is running already" if status.pid == before else "has started", manager)


def tell_faults(manager: ServiceManager) -> None:
    """Print what is wrong with the service."""
    for fault in manager.describe().faults:
        click.echo(f"mlxctl: {fault}", err=True)


def _tell_start(status: Status, verb: str, manager: ServiceManager) -> None:
    role = f", as {homebrew.NAME}" if manager.is_homebrews else ""
    click.echo(f"mlxd {verb} (pid {status.pid}){role}: {status.url}")


def _settings_to_stop() -> Config:
    """Return the configuration, or the defaults: a broken one must not prevent a stop."""
    try:
        return config.load()
    except ConfigError:
        return Config()
