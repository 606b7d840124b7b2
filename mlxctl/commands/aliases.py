"""`mlxctl alias`: other names for models."""

import click

from mlxctl import terminal
from mlxctl.client import Client, connect
from mlxctl.shell_completion import alias_names, model_names
from mlxctl.terminal import json_option, print_result
from mlxd import control_api


@click.command()
@click.argument("name", required=False)
@click.argument("model", required=False, shell_complete=model_names)
@click.option(
    "--rm", "removed", metavar="NAME", shell_complete=alias_names, help="Remove the alias NAME."
)
@json_option()
def alias(name: str | None, model: str | None, removed: str | None, *, as_json: bool) -> None:
    """Make NAME an alias for MODEL. Without arguments, list the aliases.

    Aliases take effect immediately and are saved in settings.toml. The list includes those that
    config.toml sets in [models.aliases].

    \b
    Examples:
      mlxctl alias gpt-4o-mini mlx-community/Qwen3-8B-4bit
      mlxctl alias --rm gpt-4o-mini
    """
    if removed is not None:
        if name is not None:
            raise click.UsageError("--rm takes one name.", click.get_current_context())
        _remove(connect(), removed, as_json=as_json)
    elif name is None:
        _list(connect(), as_json=as_json)
    elif not model:
        raise click.UsageError("Missing argument 'MODEL'.", click.get_current_context())
    else:
        made = connect().call(control_api.SET_ALIAS, control_api.Alias(name=name, model=model))
        print_result(made, f"{made.name} is now an alias for {made.model}", as_json=as_json)


def _remove(client: Client, name: str, *, as_json: bool) -> None:
    removed = client.call(control_api.REMOVE_ALIAS, name=name)
    text = f"removed the alias {removed.name}"
    if removed.now:
        text = f"{removed.name} is an alias for {removed.now} again, as set in config.toml"
    print_result(removed, text, as_json=as_json)


def _list(client: Client, *, as_json: bool) -> None:
    found = client.call(control_api.LIST_ALIASES)
    rows = [
        (one.name, one.model if one.exists else f"{one.model} (no such model)")
        for one in found.aliases
    ]
    text = "no aliases; to add one: mlxctl alias NAME MODEL"
    if rows:
        text = terminal.table([("ALIAS", "MODEL"), *rows])
    print_result(found, text, as_json=as_json)
