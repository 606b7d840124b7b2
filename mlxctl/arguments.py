"""Arguments and options that several commands have."""

import click

from mlxctl.shell_completion import model_names


def _not_empty(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not value:
        raise click.BadParameter("empty; `mlxctl list` shows the models.")
    return value


model_argument = click.argument("model", callback=_not_empty, shell_complete=model_names)
optional_model_argument = click.argument("model", required=False, shell_complete=model_names)
model_option = click.option(
    "-m",
    "--model",
    metavar="MODEL",
    shell_complete=model_names,
    help="Model to use instead of the default one.",
)
system_option = click.option("--system", metavar="TEXT", help="System message.")
