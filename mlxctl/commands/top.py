"""`mlxctl top`: what the daemon does, live."""

import sys

import click

from mlxctl.terminal import is_screen, json_option, print_json
from mlxctl.top.overview import Asker


@click.command()
@click.option("--once", is_flag=True, help="Show it once and end, as in a pipe.")
@json_option("Print one JSON object and end.")
def top(*, once: bool, as_json: bool) -> None:
    """Show what the daemon does: requests, speed, models, memory and downloads, once a second.

    The plots show the last two minutes; a bar is the highest value in its time. If mlxd is not
    running, top waits for it. Keys: q quits, h shows the last hour.
    """
    asker = Asker()
    if as_json:
        print_json(asker.ask())
        return
    # Only here, for the sake of --json.
    from rich.console import Console

    if once or not is_screen(sys.stdout):
        from mlxctl.top.drawing import draw_once

        console = Console(highlight=False, soft_wrap=True, force_terminal=is_screen(sys.stdout))
        for line in draw_once(asker.ask(), console.width):
            line.rstrip()
            console.print(line)
    else:
        from mlxctl.top.live import LiveView

        LiveView(Console(highlight=False, force_terminal=True), asker).run()
