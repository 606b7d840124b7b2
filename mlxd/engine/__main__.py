"""`python -m mlxd.engine [FOLDER…]`: one model, served over the socket that is standard input.

With folders, it is confined: it has no network, and writes only there (`confinement.py`).
The process says hello at once, then imports MLX, which takes a second, and calls `serving.serve`.
"""

import ctypes
import faulthandler
import gc
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from traceback import print_tb
from types import TracebackType
from typing import Any

from mlxd.engine.channel import Channel
from mlxd.engine.confinement import confine
from mlxd.messages import PROTOCOL_VERSION, Fatal, Hello
from mlxd.processes import ENGINE_OPEN_FILES

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run one engine from handshake to shutdown."""
    _end_with_the_daemon()
    folders = [Path(name) for name in sys.argv[1:]]
    if folders and (fault := confine(folders)):
        sys.stderr.write(f"this engine is not confined: {fault}\n")
    faulthandler.enable(all_threads=False)  # Metal ends a process by abort(); print where
    # What is imported and loaded stays, so collecting garbage meanwhile is lost time.
    gc.disable()
    channel: Channel[Any] = Channel(_take_standard_input())
    _report_crashes_to(channel)
    channel.send([Hello(protocol_version=PROTOCOL_VERSION, pid=os.getpid())])
    _, open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if open_files != resource.RLIM_INFINITY and open_files < ENGINE_OPEN_FILES:
        channel.send([Fatal(_too_few(open_files))])
        return
    # This imports MLX and transformers, for which the handshake cannot wait.
    from mlxd.engine.serving import serve

    serve(channel)


def _end_with_the_daemon() -> None:
    """Have Linux kill this process when its parent ends, even if it hangs or is stopped.

    See prctl(2). Elsewhere the end of the socket ends it, which needs a thread that runs.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _too_few(open_files: int) -> str:
    return (
        f"mlx_lm needs a hard limit of {ENGINE_OPEN_FILES} open files, and here it is {open_files} "
        "(`ulimit -Hn`): start mlxd where it is higher, as a service does after `mlxctl install`"
    )


def _take_standard_input() -> socket.socket:
    """Return the socket inherited as standard input, and let no library read from it."""
    connection = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return connection


def _report_crashes_to(channel: Channel[Any]) -> None:
    """Send the daemon an exception that ends this process; the traceback goes to standard error.

    The text of an exception may quote a prompt, so that only that of the system's errors and of
    MLX's, which are RuntimeErrors, is told.
    """

    def report(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        told = kind is RuntimeError or issubclass(kind, MemoryError | OSError | ImportError)
        reason = f"{kind.__name__}: {error}" if told else kind.__name__
        print_tb(traceback)
        sys.stderr.write(f"{reason}\n")
        channel.send([Fatal(reason.encode(errors="backslashreplace").decode())])

    sys.excepthook = report


if __name__ == "__main__":
    main()
