"""`mlxctl logs`: the last entries of the daemon's log, and new ones as they are written."""

import contextlib
import errno
import os
import select
import stat
import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import islice, takewhile
from pathlib import Path

import click

from mlxctl.arguments import model_names
from mlxctl.errors import CommandFailed
from mlxctl.logs.entry import LEVELS, Filters, LogEntry
from mlxctl.logs.files import Tail, entries_backwards
from mlxctl.terminal import harmless
from mlxd import paths
from mlxd.units import parse_duration

_POLL_SECONDS = 0.05
_ENTRIES = 50


def _since(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Return "10m" (ago) or "2026-11-23 15:00" as Unix seconds; a callback of click."""
    if value is None:
        return None
    if (ago := parse_duration(value.strip())) is not None:
        return time.time() - ago
    try:
        return datetime.fromisoformat(value.strip()).timestamp()  # local without a time zone
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f'{value!r} is neither a duration like "30s", "10m" or "2h" nor a time like '
            '"2026-11-23 15:00".'
        ) from error


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Keep showing new entries until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    "count",
    type=click.IntRange(min=0),
    metavar="N",
    help="Show the last N entries (default: 50; with --since or --request, all).",
)
@click.option(
    "--since",
    metavar="TIME",
    callback=_since,
    help='Show entries newer than TIME: "30s", "10m", "2h" or "3d" ago, or "2026-11-23 15:00".',
)
@click.option(
    "--level", type=click.Choice(LEVELS, case_sensitive=False), help="Minimum severity to show."
)
@click.option("--request", metavar="ID", help="Show one request, by its x-request-id.")
@click.option(
    "--engine",
    metavar="MODEL",
    shell_complete=model_names,
    help="Show the engine of one model, including its output.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per entry.")
def logs(
    since: float | None,
    level: str | None,
    request: str | None,
    engine: str | None,
    count: int | None,
    *,
    follow: bool,
    as_json: bool,
) -> None:
    """Show the daemon's log, including its rotated files.

    Filters can be combined. Entries are shown as text, whatever log.format is, unless you pass
    --json.

    \b
    Examples:
      mlxctl logs -f
      mlxctl logs --since 1h --level warning
      mlxctl logs --request req-5d4bd1c8a2 --json
    """
    file = paths.log_file()
    filters = Filters(since, level, request, engine)
    if count is None and since is None and request is None:
        count = _ENTRIES
    show = LogEntry.as_json if as_json else LogEntry.as_text
    if not follow:
        if not file.exists():
            raise CommandFailed(f"no log yet: {file} is written by the first mlxctl start")
        _print(_last(file, None, filters, count), show)
        return
    with contextlib.closing(Tail(file)) as tail:
        _print(_last(file, tail.start, filters, count), show)
        while True:
            entries = tail.read()
            _print(filter(filters.match, entries), show)
            if not entries:
                _pause()


def _last(file: Path, end: int | None, filters: Filters, count: int | None) -> list[LogEntry]:
    """Return the last `count` entries that match, or all of them for None."""
    entries = entries_backwards(file, end)
    recent = takewhile(lambda entry: not filters.is_too_old(entry), entries)
    return [*islice(filter(filters.match, recent), count)][::-1]


def _pause() -> None:
    """Wait a moment; end if the output is no longer read, as in `| head -1`."""
    if stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
        output = select.poll()
        output.register(sys.stdout.fileno(), 0)
        if output.poll(_POLL_SECONDS * 1000):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    else:
        time.sleep(_POLL_SECONDS)


def _print(entries: Iterable[LogEntry], show: Callable[[LogEntry], list[bytes]]) -> None:
    if data := b"".join(line + b"\n" for entry in entries for line in show(entry)):
        if sys.stdout.isatty():
            data = harmless(data.decode(errors="replace")).encode()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
