"""`mlxctl logs`: the end of the daemon's log, and what comes after it."""

import contextlib
import errno
import os
import select
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader
from itertools import chain

import click

from mlxctl.arguments import unicode_text
from mlxctl.errors import CommandFailed
from mlxctl.logs.entry import LEVELS, Grouping, LogEntry
from mlxctl.logs.files import end_of_lines, opened
from mlxctl.logs.filters import Filters, since
from mlxctl.logs.history import backwards
from mlxctl.logs.tail import Tail
from mlxctl.shell_completion import model_names
from mlxd import paths

_POLL_SECONDS = 0.05
_LINES = 50

Show = Callable[[LogEntry], list[bytes]]


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now on.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    metavar="N",
    help="How many lines to begin with: 50; with --since or --request, all.",
)
@click.option(
    "--since",
    metavar="TIME",
    callback=since,
    help='Only what is not older than "30s", "10m", "2h", "3d", or than "2026-11-23 15:00".',
)
@click.option(
    "--level",
    type=click.Choice(LEVELS, case_sensitive=False),
    help="Only what is at least that grave.",
)
@click.option(
    "--request", metavar="ID", callback=unicode_text, help="Only the request of this x-request-id."
)
@click.option(
    "--engine",
    metavar="MODEL",
    callback=unicode_text,
    shell_complete=model_names,
    help="Only the engine of this model, and what it printed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each entry.")
def logs(
    since: float | None,
    level: str | None,
    request: str | None,
    engine: str | None,
    lines: int | None,
    *,
    follow: bool,
    as_json: bool,
) -> None:
    """Show the end of the daemon's log, across the files that were put aside.

    The options narrow it down together. A log that is written as JSON (log.format) is shown as
    text, unless --json asks for it.

    \b
    Examples:
      mlxctl logs -f
      mlxctl logs --since 1h --level warning
      mlxctl logs --request req-5d4bd1c8a2 --json
    """
    file = paths.log_file()
    choice = Filters(since, level, request, engine)
    if lines is None and since is None and request is None:
        lines = _LINES
    show = LogEntry.as_json if as_json else LogEntry.as_text
    with contextlib.ExitStack() as stack:
        files = opened(file)
        newest = next(files, None)
        if newest is None and not follow:
            raise CommandFailed(f"no log yet: {file} is made by the first mlxctl start")
        if newest is not None:
            stack.enter_context(newest)
            end = end_of_lines(newest)
            every = chain([newest], _one_at_a_time(files))
            _print(_last(every, end if follow else _size(newest), choice, lines, show))
            newest.seek(end)
        if follow:
            tail = stack.enter_context(contextlib.closing(Tail(file, newest, _warn)))
            _follow(tail, choice, show)


def _one_at_a_time(files: Iterable[BufferedReader]) -> Iterator[BufferedReader]:
    """Give each of `files` until the next is asked for: there may be more than one may open."""
    for file in files:
        with file:
            yield file


def _last(
    files: Iterable[BufferedReader], end: int, choice: Filters, limit: int | None, show: Show
) -> list[bytes]:
    """Give the last lines of the entries chosen, at most `limit` of them."""
    found: list[bytes] = []
    if limit == 0:
        return found
    for entry in backwards(files, end):
        if choice.is_over(entry):
            break
        if choice.takes(entry):
            found += reversed(show(entry))
            if limit is not None and len(found) >= limit:
                break
    return found[:limit][::-1]


def _size(log: BufferedReader) -> int:
    return log.seek(0, os.SEEK_END)


def _follow(tail: Tail, choice: Filters, show: Show) -> None:
    grouping = Grouping()
    while True:
        lines = tail.read()
        whole = lines is None and not tail.in_a_line
        entries = grouping.end() if whole else grouping.add(lines or [])
        _print(line for entry in entries if choice.takes(entry) for line in show(entry))
        if lines is None:
            _pause()


def _pause() -> None:
    """Wait a moment, and end where nobody reads any longer what is printed: `| head -1`."""
    if stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
        output = select.poll()
        output.register(sys.stdout.fileno(), 0)
        if output.poll(_POLL_SECONDS * 1000):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    else:
        time.sleep(_POLL_SECONDS)


def _print(lines: Iterable[bytes]) -> None:
    if data := b"".join(line + b"\n" for line in lines):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _warn(before: bytes) -> None:
    parts = LogEntry([before]).parts
    after = f" after {parts.time}" if parts else ""
    click.echo(
        f"mlxctl: the log grew faster than it was shown: lines{after} may be missing here", err=True
    )
