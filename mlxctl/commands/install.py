"""`mlxctl install`, `uninstall`, `enable` and `disable`: the daemon as a service."""

import os
import shutil
from pathlib import Path

import click

from mlxctl import reach
from mlxctl.commands.service import report, tell_start
from mlxctl.errors import CommandFailed
from mlxctl.reach import listed
from mlxctl.service import choose, description
from mlxctl.service.description import Mode
from mlxctl.service.manager import Installer
from mlxd import config, network, paths
from mlxd.config import Config


@click.command()
@click.option(
    "--at-login", "mode", flag_value=Mode.AT_LOGIN, default=True, help="Start at login (default)."
)
@click.option(
    "--on-demand", "mode", flag_value=Mode.ON_DEMAND, help="Start at the first connection."
)
@click.option("--system", "mode", flag_value=Mode.SYSTEM, help="Start at boot; requires root.")
@click.option("--print", "show", is_flag=True, help="Print the service files and change nothing.")
@click.option(
    "--manager",
    "name",
    type=click.Choice(["launchd", "systemd"]),
    help="Service manager to use (default: this system's).",
)
def install(mode: str, name: str | None, *, show: bool) -> None:
    """Install mlxd as a service that launchd or systemd starts, by default at each login.

    The service gets MLXD_HOME and the MLXD_SECTION__KEY variables of this shell, and those about
    proxies, certificates and HF_ENDPOINT, but no secrets. Run this again to change them, after an
    upgrade, and after a change of server.host, server.port or server.socket. If the service is up
    to date, nothing changes.
    """
    settings = config.load()
    config.check(settings)
    _check_carried(settings)
    when = Mode(mode)  # click makes it a plain text
    manager = choose.to_install(settings, name or (choose.usual() if show else None), when)
    if show:
        click.echo(manager.preview(when), nl=False)
        return
    other = choose.installed(settings)
    if other is not None and other.file != manager.file:
        other.uninstall(report)
    before = manager.pid()
    changed = manager.install(when, report)
    status = manager.describe()
    verb = "is installed" if changed else "is installed already, and up to date"
    click.echo(f"mlxd {verb}: {status.manager} starts it {status.starts} ({manager.file})")
    if when is not Mode.ON_DEMAND:
        tell_start(manager, before)


@click.command()
@click.option(
    "--purge",
    is_flag=True,
    help="Also remove the logs, the socket, the chat history and the prompt cache.",
)
def uninstall(*, purge: bool) -> None:
    """Stop the daemon and remove its service."""
    manager = choose.installed(config.load())
    if manager is not None:
        manager.uninstall(report)
        click.echo(f"mlxd is uninstalled ({manager.file})")
    else:
        click.echo("mlxd is not installed as a service")
    if purge:
        places = [paths.log_dir(), paths.runtime_dir(), paths.chat_history_file()]
        _purge([*places, paths.cache_dir()])


@click.command()
def enable() -> None:
    """Start the service automatically again."""
    _installed().enable()
    click.echo("mlxd is enabled")


@click.command()
def disable() -> None:
    """Do not start the service automatically. A running daemon keeps running."""
    _installed().disable()
    click.echo("mlxd is disabled and does not start automatically. To enable it: mlxctl enable")


def _check_carried(settings: Config) -> None:
    """Check the configuration without the secrets of this shell, which the service does not get.

    Raises:
        ConfigError: it would listen beyond this machine without a key.
    """
    environment = description.carried(os.environ)
    carried = config.load(environ=environment)
    missing = {}
    if carried.server.api_key != settings.server.api_key:
        missing["MLXD_SERVER__API_KEY"] = "server.api_key"
    here = network.variables(os.environ) | settings.hub.variables()
    there = network.variables(environment) | carried.hub.variables()
    for name in here:
        if name not in there:
            missing[name] = reach.KEYS[name]
    if missing:
        report(
            f"the service does not get {listed(missing)}, since others can read its description. "
            f"Write {listed(dict.fromkeys(missing.values()))} into {paths.config_file()}"
        )
    config.check(carried)


def _installed() -> Installer:
    if (manager := choose.installed(config.load())) is None:
        raise CommandFailed("mlxd is not installed as a service. Run: mlxctl install")
    return manager


def _purge(places: list[Path]) -> None:
    if choose.in_charge(config.load()).pid() is not None:
        raise CommandFailed("mlxd is still running, so its files stay. Run: mlxctl stop")
    for place in filter(Path.exists, places):
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink()
        click.echo(f"removed {place}")
    click.echo(f"kept {paths.models_dir()} and {paths.config_file()}")
