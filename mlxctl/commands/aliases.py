"""`mlxctl alias`: other names for models."""

import click

from mlxctl import terminal
from mlxctl.arguments import unicode_text
from mlxctl.client import Client, connect
from mlxctl.shell_completion import alias_names, model_names
from mlxctl.terminal import json_option, print_json
from mlxd import control_api


@click.command()
@click.argument("name", required=False, callback=unicode_text)
@click.argument("model", required=False, callback=unicode_text, shell_complete=model_names)
@click.option(
    "--rm",
    "removed",
    metavar="NAME",
    callback=unicode_text,
    shell_complete=alias_names,
    help="Remove the alias NAME.",
)
@json_option()
def alias(name: str | None, model: str | None, removed: str | None, *, as_json: bool) -> None:
    """Make NAME another name for MODEL, from now on; without arguments, list the aliases.

    They are kept in settings.toml, beside those that config.toml sets in [models.aliases].

    \b
    Examples:
      mlxctl alias gpt-4o-mini mlx-community/Qwen3-8B-4bit
      mlxctl alias --rm gpt-4o-mini
    """
    if removed is not None:
        _refuse(name, "--rm takes one name and nothing else.")
        _remove(connect(), removed, as_json=as_json)
    elif name is None:
        _list(connect(), as_json=as_json)
    elif not model:
        raise click.UsageError("MODEL is missing.", click.get_current_context())
    else:
        made = connect().call(control_api.SET_ALIAS, control_api.Alias(name=name, model=model))
        if as_json:
            print_json(made)
        else:
            click.echo(f"{made.name} stands for {made.model} now")


def _refuse(argument: str | None, message: str) -> None:
    if argument is not None:
        raise click.UsageError(message, click.get_current_context())


def _remove(client: Client, name: str, *, as_json: bool) -> None:
    removed = client.call(control_api.REMOVE_ALIAS, name=name)
    if as_json:
        print_json(removed)
    elif removed.now:
        click.echo(f"{removed.name} stands for {removed.now} again, as config.toml says")
    else:
        click.echo(f"removed the alias {removed.name}")


def _list(client: Client, *, as_json: bool) -> None:
    found = client.call(control_api.LIST_ALIASES)
    if as_json:
        print_json(found)
    elif found.aliases:
        rows = [
            (one.name, one.model if one.exists else f"{one.model} (there is no such model)")
            for one in found.aliases
        ]
        click.echo(terminal.table([("ALIAS", "MODEL"), *rows]))
    else:
        click.echo("no aliases yet; make one with: mlxctl alias NAME MODEL")
