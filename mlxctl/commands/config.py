"""`mlxctl config`: create, locate, show and check the daemon's configuration."""

from pathlib import Path

import click

from mlxctl import terminal
from mlxctl.terminal import json_option, print_result
from mlxd import config as configuration
from mlxd import paths
from mlxd.errors import ConfigError
from mlxd.files import write_atomically


@click.group()
def config() -> None:
    """Create, locate, show and check the configuration."""


@config.command()
def init() -> None:
    """Write a commented config.toml with every key and its default."""
    file = paths.config_file()
    if file.exists():
        raise ConfigError(f"{file}: already exists; it was not changed")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(file, configuration.render_default().encode())
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from error
    click.echo(f"wrote {file}")


@config.command()
def path() -> None:
    """Print the path of config.toml, whether or not it exists."""
    click.echo(paths.config_file())


@config.command()
@json_option("Print one JSON object with an entry for each key.")
def show(*, as_json: bool) -> None:
    """Print every value and where it is set."""
    rows = configuration.explain()
    values = {row.key: {"value": row.value, "source": row.source} for row in rows}
    text = terminal.table([(row.key, row.text, row.source) for row in rows])
    print_result(values, text, as_json=as_json)


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def validate(file: Path | None) -> None:
    """Check the daemon's whole configuration, or only FILE."""
    loaded = configuration.load_file(file) if file else configuration.load()
    configuration.check(loaded)
    checked = file or paths.config_file()
    click.echo(f"valid: {checked}" if checked.exists() else f"valid: the defaults (no {checked})")
