"""`mlxctl open`: the page of the daemon in a browser, with the right to change something."""

import webbrowser

import click

from mlxctl.api_access import api_url
from mlxctl.client import connect
from mlxctl.terminal import remark
from mlxd import config
from mlxd.control_api import STATUS
from mlxd.page_api import OPEN_PAGE


@click.command("open")
@click.option(
    "--print", "only_print", is_flag=True, help="Print the address instead of opening it."
)
def open_page(*, only_print: bool) -> None:
    """Open the page of the daemon in a browser.

    The page shows what the daemon does, and talks to models. Opened so, it may also load, unload
    and pull them: its address has a token, which is as good as a key with all rights and ends with
    the daemon. Do not give it away.

    \b
    Examples:
      mlxctl open
      ssh -L 8080:127.0.0.1:8080 mac.local mlxctl open --print
    """
    client = connect()
    url = api_url(config.load().server, client.call(STATUS))
    address = f"{url}/#token={client.call(OPEN_PAGE).token}"
    if only_print:
        click.echo(address)
    elif webbrowser.open(address):  # which on a Mac keeps it out of the list of processes
        click.echo(f"opened {url}/")
    else:
        remark("no browser was found; open this address in one:")
        click.echo(address)
