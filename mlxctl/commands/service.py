"""`mlxctl start`, `stop` and `restart`; `install` and what belongs to it is in install.py."""

import click

from mlxctl.service import homebrew
from mlxctl.service.choose import in_charge
from mlxctl.service.manager import ServiceManager
from mlxd import config
from mlxd.config import Config
from mlxd.control_api import Status
from mlxd.errors import ConfigError


@click.command()
def start() -> None:
    """Start the daemon and wait until it answers.

    Where it is installed as a service, launchd, Homebrew or systemd starts it.
    """
    settings = config.load()
    config.check(settings)
    manager = in_charge(settings)
    tell_start(manager, manager.pid())
    tell_faults(manager)


@click.command()
def stop() -> None:
    """Let running requests finish, then end the daemon.

    A service comes back with the next login; `mlxctl disable` keeps it from that, or, where it is
    Homebrew's, `brew services stop mlxd`.
    """
    manager = in_charge(_settings_to_stop())
    pid = manager.pid()
    manager.stop(report)
    click.echo(f"mlxd has stopped (pid {pid})" if pid else "mlxd is no longer waited for")
    if manager.is_homebrews:
        report(
            f"{homebrew.NAME} starts it again at the next login: "
            "brew services stop mlxd keeps it from that"
        )


@click.command()
def restart() -> None:
    """Stop the daemon if it runs, then start it and wait until it answers.

    It refuses nobody meanwhile: who connects waits until it is back. Without a service manager
    the flags and variables of before stay; variables of this shell win.
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
    """Say what is waited for."""
    click.echo(line, err=True)


def tell_start(manager: ServiceManager, before: int | None) -> None:
    """Start the daemon, and say that it runs; `before` is the process that did so already."""
    status = manager.start(report)
    _tell_start(status, "is running already" if status.pid == before else "has started", manager)


def tell_faults(manager: ServiceManager) -> None:
    """Say what is wrong with the service, though it runs."""
    for fault in manager.describe().faults:
        click.echo(f"mlxctl: {fault}", err=True)


def _tell_start(status: Status, verb: str, manager: ServiceManager) -> None:
    role = f", as {homebrew.NAME}" if manager.is_homebrews else ""
    click.echo(f"mlxd {verb} (pid {status.pid}){role}: {status.url}")


def _settings_to_stop() -> Config:
    """Give the configuration, or the defaults: a broken one is no reason to go on running."""
    try:
        return config.load()
    except ConfigError:
        return Config()
