"""`mlxctl env` and `mlxctl completion`: what a shell evaluates."""

import shlex

import click
from click.shell_completion import get_completion_class

from mlxctl.api_access import KEY_WANTED, api_key, api_url
from mlxctl.client import running_status
from mlxctl.errors import CommandFailed
from mlxctl.terminal import json_option, print_result
from mlxd import config as configuration


@click.command()
@click.option(
    "--shell",
    type=click.Choice(["sh", "bash", "zsh", "fish"]),
    default="sh",
    show_default=True,
    help="Shell syntax to print.",
)
@json_option()
def env(shell: str, *, as_json: bool) -> None:
    """Print shell commands that set OPENAI_BASE_URL and OPENAI_API_KEY.

    OpenAI clients started from that shell then use the daemon. If mlxd wants a key of
    `mlxctl key`, set MLXD_API_KEY to it before.

    \b
    bash, zsh:  eval "$(mlxctl env)"
    fish:       mlxctl env --shell fish | source
    """
    server = configuration.load().server
    key = api_key(server)
    if key is None:
        raise CommandFailed(KEY_WANTED)
    variables = {
        "OPENAI_BASE_URL": f"{api_url(server, running_status())}/v1",
        "OPENAI_API_KEY": key,
    }
    lines = [
        f"set -gx {name} {_fish_quoted(value)}"
        if shell == "fish"
        else f"export {name}={shlex.quote(value)}"
        for name, value in variables.items()
    ]
    print_result(variables, "\n".join(lines), as_json=as_json)


def _fish_quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that completes commands, options and model names in your shell.

    \b
    bash 4.4 or newer, in ~/.bashrc:
        eval "$(mlxctl completion bash)"
    zsh, in ~/.zshrc, after compinit:
        eval "$(mlxctl completion zsh)"
    fish, once:
        mlxctl completion fish > ~/.config/fish/completions/mlxctl.fish
    """
    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"click does not support {shell}.")
    click.echo(script(ctx.find_root().command, {}, "mlxctl", "_MLXCTL_COMPLETE").source())
