"""`python -m mlxd.engine`: one model, served over the socket that is this process's standard input.

The process says hello at once, then imports MLX, which takes a second, and calls `serving.serve`.
"""

import ctypes
import faulthandler
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from mlxd.engine.channel import Channel
from mlxd.messages import PROTOCOL_VERSION, Fatal, Hello, Load

_PR_SET_PDEATHSIG = 1
_PART_BYTES = 32 * 1024 * 1024


def main() -> None:
    """Run one engine from handshake to shutdown."""
    _end_with_the_daemon()
    faulthandler.enable(all_threads=False)  # Metal ends a process by abort(); print where
    # What is imported and loaded stays, so collecting garbage meanwhile is lost time.
    gc.disable()
    channel: Channel[Any] = Channel(_take_standard_input())
    _report_crashes_to(channel)
    channel.send([Hello(protocol_version=PROTOCOL_VERSION, pid=os.getpid())])
    first = channel.receive_one(wait=False)
    with reading_ahead(Path(first.path) if isinstance(first, Load) else None):
        # This imports MLX and transformers, for which the handshake cannot wait.
        from mlxd.engine.serving import serve
    serve(channel, first)


def _end_with_the_daemon() -> None:
    """Have Linux kill this process when its parent ends, even if it hangs or is stopped.

    See prctl(2). Elsewhere the end of the socket ends it, which needs a thread that runs.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _take_standard_input() -> socket.socket:
    """Return the socket inherited as standard input, and let no library read from it."""
    connection = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return connection


def _report_crashes_to(channel: Channel[Any]) -> None:
    """Send the daemon an exception that ends this process; the traceback goes to standard error."""

    def report(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        sys.__excepthook__(kind, error, traceback)
        channel.send([Fatal(f"{kind.__name__}: {error}")])

    sys.excepthook = report


@contextmanager
def reading_ahead(folder: Path | None) -> Iterator[None]:
    """Read the weights in `folder` into the system's file cache while the block runs.

    Files that cannot be read are left to loading, which reports why.
    """
    enough = threading.Event()
    if folder is not None:
        threading.Thread(target=_read, args=(folder, enough), name="reader", daemon=True).start()
    try:
        yield
    finally:
        enough.set()


def _read(folder: Path, enough: threading.Event) -> None:
    buffer = bytearray(_PART_BYTES)
    try:
        for path in sorted(folder.glob("*.safetensors")):
            with path.open("rb", buffering=0) as file:
                while not enough.is_set() and file.readinto(buffer):
                    pass
    except OSError:
        return


if __name__ == "__main__":
    main()
