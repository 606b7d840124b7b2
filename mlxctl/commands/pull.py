"""`mlxctl pull`: models that the daemon downloads from Hugging Face."""

import contextlib
import os
import shutil
import sys

import click

from mlxctl import reach, terminal
from mlxctl.client import Client, connect
from mlxctl.errors import CommandFailed, RefusedByDaemon
from mlxctl.terminal import ProgressLine, is_screen, json_option, print_result, remark
from mlxd import control_api
from mlxd.control_api import PullReply, PullStatus
from mlxd.units import size

_BAR_WIDTH = 20


@click.command()
@click.argument("repo", required=False, metavar="[REPO[@REV]]")
@click.option("--cancel", is_flag=True, help="Cancel the download and delete its files.")
@json_option("Print one JSON object at the end.")
def pull(repo: str | None, *, cancel: bool, as_json: bool) -> None:
    """Download the model REPO from Hugging Face, or update it. Without REPO, list the downloads.

    The daemon downloads the model: the download continues after Ctrl-C, without the terminal, and
    after a restart of the daemon. For gated and private models, log in with `hf auth login`.

    \b
    Examples:
      mlxctl pull mlx-community/SmolLM2-135M-Instruct-4bit
      mlxctl pull OWNER/NAME@REVISION
      mlxctl pull https://huggingface.co/OWNER/NAME
      mlxctl pull OWNER/NAME --cancel
    """
    if repo is None:
        if cancel:
            raise click.UsageError("--cancel needs REPO.")
        pulls = connect().call(control_api.LIST_PULLS)
        print_result(pulls, pulls_table(pulls.pulls), as_json=as_json)
    elif cancel:
        request = control_api.CancelPullRequest(model=repo)
        cancelled = connect().call(control_api.CANCEL_PULL, request)
        deleted = size(cancelled.bytes_removed)
        text = f"cancelled the download of {cancelled.model}; deleted {deleted}"
        print_result(cancelled, text, as_json=as_json)
    else:
        reply = _download(repo)
        text = f"downloaded {reply.model}: {size(reply.size_bytes)} in {reply.path}"
        if reply.up_to_date:
            text = f"{reply.model} is up to date ({reply.path})"
        print_result(reply, text, as_json=as_json)


def _download(repo: str) -> PullReply:
    """Download `repo` and show the progress: on a terminal in one line, otherwise in a few."""
    line = ProgressLine()
    last = ""

    def show(status: PullStatus) -> None:
        nonlocal last
        if is_screen(sys.stderr):
            line.show(_progress(status)[: shutil.get_terminal_size().columns - 1])
        elif (news := _news(status)) and news != last:
            last = news
            remark(f"{status.model}: {news}")

    with line.during_background_work(
        f"the download continues in the daemon; to see it: mlxctl pull {repo}; "
        f"to cancel it: mlxctl pull {repo} --cancel"
    ):
        request = control_api.PullRequest(model=repo, stream=True)
        client = connect()
        try:
            return client.follow(control_api.PULL, request, show)
        except RefusedByDaemon:
            _tell_what_it_lacks(client)
            raise


def _tell_what_it_lacks(client: Client) -> None:
    """Say which variables of this shell the daemon does not have, if any: perhaps that is why."""
    with contextlib.suppress(CommandFailed):
        known = client.call(control_api.STATUS).network
        if names := reach.unknown(known, os.environ):
            remark(
                f"the daemon does not have {reach.listed(names)} as set in this shell; "
                f"to give it that, write {reach.keys(names)} into config.toml and restart it"
            )


def _news(status: PullStatus) -> str:
    """Return a line about a problem, or else about each tenth that is done, but not the first.

    A failure is not news: it comes as an error next.
    """
    if status.state == "failed":
        return ""
    if status.cause:
        return status.cause
    if not status.bytes_total or (tenth := 10 * status.bytes_done // status.bytes_total) == 0:
        return ""
    return f"{tenth}0 % of {size(status.bytes_total)}"


def _progress(status: PullStatus) -> str:
    """Return a bar, the size, the speed and the time left."""
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


def pulls_table(pulls: list[PullStatus]) -> str:
    """Return the table of downloads."""
    if not pulls:
        return "no downloads"
    rows = [("MODEL", "STATE", "DONE", "TOTAL", "SPEED"), *map(_row, pulls)]
    return terminal.table(rows, [status.cause for status in pulls])


def _row(status: PullStatus) -> tuple[str, ...]:
    return (
        status.model,
        status.state,
        size(status.bytes_done),
        size(status.bytes_total) if status.bytes_total else "-",
        f"{size(round(status.bytes_per_second))}/s" if status.bytes_per_second else "-",
    )
