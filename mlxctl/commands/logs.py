"""`mlxctl logs`: the end of the daemon's log, and what comes after it."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import click

from mlxctl.errors import CommandFailed
from mlxd import paths

_POLL_SECONDS = 0.2
_BLOCK_BYTES = 65536


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now on.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="How many lines to begin with.",
)
def logs(*, follow: bool, lines: int) -> None:
    """Show the end of the daemon's log."""
    file = paths.log_file()
    for data in _follow(file, lines) if follow else _end(file, lines):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _end(file: Path, lines: int) -> Iterator[bytes]:
    log = _open(file)
    if log is None:
        raise CommandFailed(f"no log yet: {file} is made by the first mlxctl start")
    with log:
        _seek_to_end(log, lines)
        yield from _rest(log)


def _follow(file: Path, lines: int) -> Iterator[bytes]:
    """Give the end of the log and all that comes, in the files that follow upon it too."""
    log = _wait_for(file)
    _seek_to_end(log, lines)
    while True:
        with log:
            yield from _until_replaced(log, file)
        log = _wait_for(file)


def _until_replaced(log: BufferedReader, file: Path) -> Iterator[bytes]:
    """Give what `log` gains, until another file has its name."""
    while True:
        # Looked at before reading: what was written up to the replacement is then read.
        replaced = not _is_at(log, file)
        if os.fstat(log.fileno()).st_size < log.tell():
            log.seek(0)
        yield from _rest(log)
        if replaced:
            return
        time.sleep(_POLL_SECONDS)


def _wait_for(file: Path) -> BufferedReader:
    while (log := _open(file)) is None:
        time.sleep(_POLL_SECONDS)
    return log


def _open(file: Path) -> BufferedReader | None:
    try:
        return file.open("rb")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandFailed(f"{file}: {error.strerror}") from error


def _is_at(log: BufferedReader, file: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(log.fileno()), file.stat())
    return False


def _seek_to_end(log: BufferedReader, lines: int) -> None:
    """Go to where the last `lines` lines of `log` begin."""
    end = log.seek(0, os.SEEK_END)
    if lines == 0:
        return
    position = max(0, end - 1)  # a newline at the very end begins no line
    while position > 0:
        start = max(0, position - _BLOCK_BYTES)
        log.seek(start)
        block = log.read(position - start)
        newline = len(block)
        while (newline := block.rfind(b"\n", 0, newline)) >= 0:
            lines -= 1
            if lines == 0:
                log.seek(start + newline + 1)
                return
        position = start
    log.seek(0)


def _rest(log: BufferedReader) -> Iterator[bytes]:
    while data := log.read(_BLOCK_BYTES):
        yield data
