"""Starting an engine's process and reading what it prints."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spawned:
    """A new process, and our ends of its standard input, a socket, and of its output."""

    process: asyncio.subprocess.Process
    connection: socket.socket
    output: socket.socket


async def spawn(command: Sequence[str]) -> Spawned:
    """Run `command` in a session of its own.

    Raises:
        OSError: it cannot be run.
    """
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as its:
        connection, its_connection = _pair(ours, its)
        # No pipe of asyncio's, which takes a process for alive while anybody holds its end.
        output, its_output = _pair(ours, its)
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=its_connection.fileno(),
            stdout=its_output.fileno(),
            stderr=its_output.fileno(),
            start_new_session=True,
            env=_environment(),
        )
        ours.pop_all()
        return Spawned(process, connection, output)


def _pair(
    ours: contextlib.ExitStack, its: contextlib.ExitStack
) -> tuple[socket.socket, socket.socket]:
    """Give the two ends of a connection, each to be closed by its stack."""
    our_end, its_end = socket.socketpair()
    ours.enter_context(our_end).setblocking(False)
    return our_end, its.enter_context(its_end)


async def read_output(output: socket.socket, take: Callable[[str], None]) -> None:
    """Give `take` each line that comes from `output`, until it ends; then close it."""
    reader, writer = await asyncio.open_unix_connection(sock=output)
    with contextlib.closing(writer):
        while True:
            try:
                line = await reader.readline()
            except ValueError:  # longer than asyncio's buffer, which dropped it
                continue
            if not line:
                return
            take(line.decode(errors="replace").rstrip())


def _environment() -> dict[str, str]:
    """An engine reads its model folder and nothing else: no hub, no telemetry."""
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
