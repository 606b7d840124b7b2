"""`mlxctl env`: the environment variables for OpenAI clients."""

import contextlib
import shlex
from urllib.parse import urlsplit

import click

from mlxctl.client import connect
from mlxctl.errors import NotRunning
from mlxctl.terminal import json_option, print_json
from mlxd import config as configuration
from mlxd import control_api, lock, paths
from mlxd.config import ServerConfig
from mlxd.units import address

_NO_KEY = "none"  # clients require one
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  not to listen, but to connect


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

    OpenAI clients started from that shell then use the daemon.

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
    """Return the URL at which the daemon listens, or would listen as configured."""
    host, port = server.host, server.port
    # A connection would start the daemon if launchd or systemd listens.
    if lock.holder(paths.lock_file()) is not None:
        with contextlib.suppress(NotRunning):  # it is just starting
            listening = urlsplit(connect().call(control_api.STATUS).url or "")
            host, port = listening.hostname or host, listening.port or port
    if not port:
        raise NotRunning
    host = _EVERY_ADDRESS.get(host, host)
    return f"http://{address(host, port)}"


def _fish_quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
