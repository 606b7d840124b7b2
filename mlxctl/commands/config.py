"""`mlxctl config`: make, find, show and check the daemon's configuration."""

from pathlib import Path

import click

from mlxctl.terminal import json_option, print_json
from mlxd import config as configuration
from mlxd import paths
from mlxd.errors import ConfigError


@click.group()
def config() -> None:
    """Make, find, show and check the configuration."""


@config.command()
def init() -> None:
    """Write a commented config.toml with every key and its default."""
    file = paths.config_file()
    if file.exists():
        raise ConfigError(f"{file}: exists already and is left as it is")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600, exist_ok=False)
        try:
            file.write_text(configuration.render_default(), encoding="utf-8")
        except OSError:
            file.unlink()
            raise
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from error
    click.echo(f"wrote {file}")


@config.command()
def path() -> None:
    """Print where config.toml is, or would be."""
    click.echo(paths.config_file())


@config.command()
@json_option("Print one JSON object, by key.")
def show(*, as_json: bool) -> None:
    """Print every value and where it came from."""
    rows = configuration.explain()
    if as_json:
        values = {row.key: {"value": row.value, "source": row.source} for row in rows}
        print_json(values)
        return
    keys = max(len(row.key) for row in rows)
    values_width = max(len(row.text) for row in rows)
    for row in rows:
        click.echo(f"{row.key:{keys}}  {row.text:{values_width}}  {row.source}")


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def validate(file: Path | None) -> None:
    """Check what the daemon would start with, or FILE alone."""
    loaded = configuration.load_file(file) if file else configuration.load()
    configuration.check(loaded)
    checked = file or paths.config_file()
    click.echo(f"valid: {checked}" if checked.exists() else f"valid: no {checked}, the defaults")
