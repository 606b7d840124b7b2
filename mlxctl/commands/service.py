"""`mlxctl start`, `stop` and `restart`."""

import click

from mlxctl.service.manager import ServiceManager
from mlxctl.service.process import ProcessManager
from mlxd import config
from mlxd.config import Config
from mlxd.errors import ConfigError


@click.command()
def start() -> None:
    """Start the daemon and wait until it answers."""
    settings = config.load()
    config.check(settings)
    _start(ProcessManager(settings))


@click.command()
def stop() -> None:
    """Let running requests finish, then end the daemon."""
    _stop(ProcessManager(_settings_to_stop()))


@click.command()
def restart() -> None:
    """Stop the daemon if it runs, then start it and wait until it answers."""
    # Loaded first: a mistake in the configuration leaves the running daemon alone.
    settings = config.load()
    config.check(settings)
    manager = ProcessManager(settings)
    if manager.pid() is not None:
        _stop(manager)
    _start(manager)


def _start(manager: ServiceManager) -> None:
    before = manager.pid()
    status = manager.start(_report)
    verb = "is running already" if status.pid == before else "has started"
    click.echo(f"mlxd {verb} (pid {status.pid}): {status.url}")


def _stop(manager: ServiceManager) -> None:
    pid = manager.pid()
    manager.stop(_report)
    click.echo(f"mlxd has stopped (pid {pid})")


def _report(line: str) -> None:
    click.echo(line, err=True)


def _settings_to_stop() -> Config:
    """Give the configuration, or the defaults: a broken one is no reason to go on running."""
    try:
        return config.load()
    except ConfigError:
        return Config()
