"""`mlxctl pull`: models from the hub, which the daemon downloads and this shows."""

import shutil
import sys

import click
import msgspec

from mlxctl import terminal
from mlxctl.arguments import unicode_text
from mlxctl.client import connect
from mlxctl.terminal import ProgressLine, is_screen, json_option, print_json
from mlxd import control_api
from mlxd.control_api import PullReply, PullStatus
from mlxd.units import size

_BAR_WIDTH = 20
_LINE_EVERY = 10  # per cent, where there is no terminal


@click.command()
@click.argument("repo", required=False, callback=unicode_text, metavar="[REPO[@REV]]")
@click.option("--cancel", is_flag=True, help="End its download, and remove what has come of it.")
@json_option("Print one JSON object at the end.")
def pull(repo: str | None, *, cancel: bool, as_json: bool) -> None:
    """Download the model REPO from the hub, or bring it up to date; without REPO, list what is on
    its way.

    The daemon downloads it: closing the terminal or Ctrl-C does not end that, and a restart of the
    daemon goes on with it. Log in with `hf auth login` for gated and private models.

    \b
    Examples:
      mlxctl pull mlx-community/SmolLM2-135M-Instruct-4bit
      mlxctl pull OWNER/NAME@REVISION
      mlxctl pull OWNER/NAME --cancel
    """
    client = connect()
    if repo is None:
        if cancel:
            raise click.UsageError("say which one to cancel.", click.get_current_context())
        pulls = client.call(control_api.LIST_PULLS)
        _say(pulls, _list(pulls.pulls), as_json=as_json)
    elif cancel:
        cancelled = client.call(control_api.CANCEL_PULL, control_api.CancelPullRequest(model=repo))
        removed = size(cancelled.bytes_removed)
        line = f"the pull of {cancelled.model} was cancelled; {removed} removed"
        _say(cancelled, line, as_json=as_json)
    else:
        watched = _Watch()
        try:
            request = control_api.PullRequest(model=repo, stream=True)
            reply = client.follow(control_api.PULL, request, watched.show)
        except KeyboardInterrupt:
            watched.erase()
            click.echo(
                f"mlxctl: the download goes on without you; `mlxctl pull {repo}` shows it again, "
                "and ends it with --cancel",
                err=True,
            )
            raise click.Abort from None
        finally:
            watched.erase()
        _say(reply, _result(reply), as_json=as_json)


class _Watch:
    """Shows a download as it goes: one line that changes on a terminal, else a few lines."""

    def __init__(self) -> None:
        self._line = ProgressLine()
        self._shown = ""
        self._tenth = 0

    def show(self, status: PullStatus) -> None:
        """Show how far it is."""
        if is_screen(sys.stderr):
            self._line.show(_progress(status)[: shutil.get_terminal_size().columns - 1])
        elif (line := self._news(status)) and line != self._shown:
            self._shown = line
            click.echo(f"mlxctl: {status.model}: {line}", err=True)

    def erase(self) -> None:
        """Leave no line that changes behind."""
        self._line.erase()

    def _news(self, status: PullStatus) -> str:
        """Give what is worth a line of its own."""
        if status.state == "retrying":
            return status.cause or status.state
        if not status.bytes_total:
            return ""
        tenth = 100 * status.bytes_done // status.bytes_total // _LINE_EVERY
        if tenth == self._tenth:
            return ""
        self._tenth = tenth
        return f"{tenth * _LINE_EVERY} % of {size(status.bytes_total)}"


def _progress(status: PullStatus) -> str:
    """Give one line: a bar, the size, the speed and the time left."""
    if not status.bytes_total:
        return f"{status.model}: {status.cause or status.state}"
    share = min(status.bytes_done / status.bytes_total, 1.0)
    bar = ("#" * round(share * _BAR_WIDTH)).ljust(_BAR_WIDTH, "-")
    words = [
        f"{status.model} [{bar}] {share:4.0%}",
        f"{size(status.bytes_done)} of {size(status.bytes_total)}",
    ]
    if status.state != "downloading":
        words.append(status.cause or f"{status.state} {status.file or ''}")
    elif status.bytes_per_second:
        left = (status.bytes_total - status.bytes_done) / status.bytes_per_second
        words.append(f"{size(round(status.bytes_per_second))}/s")
        words.append(f"{terminal.duration(left)} left")
    return "  ".join(words)


def _result(reply: PullReply) -> str:
    if reply.up_to_date:
        return f"{reply.model} is up to date ({reply.path})"
    return f"{reply.model} is there: {size(reply.size_bytes)} in {reply.path}"


def _list(pulls: list[PullStatus]) -> str:
    if not pulls:
        return "nothing is being pulled"
    rows = [("MODEL", "STATE", "HERE", "OF", "SPEED"), *map(_row, pulls)]
    lines = terminal.table(rows).splitlines()
    shown = lines[:1]
    for line, status in zip(lines[1:], pulls, strict=True):
        shown.append(line)
        if status.cause:
            shown.append(f"  {status.cause}")
    return "\n".join(shown)


def _row(status: PullStatus) -> tuple[str, ...]:
    return (
        status.model,
        status.state,
        size(status.bytes_done),
        size(status.bytes_total) if status.bytes_total else "-",
        f"{size(round(status.bytes_per_second))}/s" if status.bytes_per_second else "-",
    )


def _say(reply: msgspec.Struct, text_of_it: str, *, as_json: bool) -> None:
    if as_json:
        print_json(reply)
    else:
        click.echo(text_of_it)
