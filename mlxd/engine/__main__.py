"""`python -m mlxd.engine`: one model, served over the socket that is this process's standard input.

This is its beginning: shake hands, then import what takes long; `serving.py` is the rest.
"""

import ctypes
import faulthandler
import gc
import os
import signal
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from mlxd.engine.channel import Channel
from mlxd.engine.read_ahead import reading_ahead
from mlxd.messages import PROTOCOL_VERSION, Fatal, Hello, Load

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run one engine from handshake to shutdown."""
    _end_with_the_daemon()
    faulthandler.enable(all_threads=False)  # Metal ends a process by abort(); say where it was
    # What is imported and loaded stays, so looking for garbage in it is time lost.
    gc.disable()
    channel: Channel[Any] = Channel(_take_standard_input())
    _report_crashes_to(channel)
    channel.send([Hello(protocol_version=PROTOCOL_VERSION, pid=os.getpid())])
    first = channel.receive_one(wait=False)
    with reading_ahead(Path(first.path) if isinstance(first, Load) else None):
        # This brings MLX and transformers, which takes a second; the handshake cannot wait for it.
        from mlxd.engine.serving import serve
    serve(channel, first)


def _end_with_the_daemon() -> None:
    """Have Linux end this process with its parent, even one that hangs or is stopped; see prctl(2).

    Elsewhere the end of the socket does it, which takes a thread that runs.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _take_standard_input() -> socket.socket:
    """Keep the inherited socket to ourselves, so that no library can read from it."""
    connection = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return connection


def _report_crashes_to(channel: Channel[Any]) -> None:
    """Tell the daemon about an exception that ends this process; the traceback is its log's."""

    def report(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        sys.__excepthook__(kind, error, traceback)
        channel.send([Fatal(f"{kind.__name__}: {error}")])

    sys.excepthook = report


if __name__ == "__main__":
    main()
