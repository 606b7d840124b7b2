"""`mlxctl env`: the variables that point OpenAI's clients at the daemon."""

import contextlib
import shlex
from urllib.parse import urlsplit

import click

from mlxctl.client import connect
from mlxctl.errors import NotRunning
from mlxctl.service.pidfile import owner
from mlxctl.terminal import json_option, print_json
from mlxd import config as configuration
from mlxd import control_api, paths
from mlxd.config import ServerConfig

_NO_KEY = "none"  # clients insist on one
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  where one listens is not where one calls


@click.command()
@click.option(
    "--shell",
    type=click.Choice(["sh", "bash", "zsh", "fish"]),
    default="sh",
    show_default=True,
    help="The shell whose syntax it is to be.",
)
@json_option()
def env(shell: str, *, as_json: bool) -> None:
    """Print what sets OPENAI_BASE_URL and OPENAI_API_KEY, for OpenAI's clients in this shell.

    \b
    bash, zsh:  eval "$(mlxctl env)"
    fish:       mlxctl env --shell fish | source
    """
    server = configuration.load().server
    variables = {
        "OPENAI_BASE_URL": f"{_url(server)}/v1",
        "OPENAI_API_KEY": server.api_key or _NO_KEY,
    }
    if as_json:
        print_json(variables)
        return
    for name, value in variables.items():
        if shell == "fish":
            click.echo(f"set -gx {name} {_fish_quoted(value)}")
        else:
            click.echo(f"export {name}={shlex.quote(value)}")


def _url(server: ServerConfig) -> str:
    """Give where clients go: where the daemon listens, or will as it is configured."""
    host, port = server.host, server.port
    # Asking one that does not run would start it where launchd or systemd listens.
    if owner(paths.lock_file()) is not None:
        with contextlib.suppress(NotRunning):  # not yet
            listening = urlsplit(connect().call(control_api.STATUS).url or "")
            host, port = listening.hostname or host, listening.port or port
    if not port:
        raise NotRunning
    host = _EVERY_ADDRESS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _fish_quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
