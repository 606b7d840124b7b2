"""`mlxctl completion`: the script that lets a shell complete commands, options and models."""

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_MLXCTL_COMPLETE"
_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
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
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click does not support {shell}.")
    click.echo(kind(ctx.find_root().command, {}, "mlxctl", _VARIABLE).source())
