"""Holding the sockets of a daemon that ends, until the next one takes them; see mlxd.handover."""

import contextlib
import os
import socket
from collections.abc import Iterator

from mlxctl.errors import CommandFailed
from mlxctl.service.observation import Observation

_MOST = 32
_MESSAGE_BYTES = 1024
_SECONDS = 5.0


@contextlib.contextmanager
def received(daemon: Observation) -> Iterator[dict[int, str]]:
    """Have the daemon hand over its sockets and end; give them while the block runs.

    Each comes with its kind, as `SOCKETS_VARIABLE` tells it. There are none where the daemon does
    not answer, or knows nothing of this: it goes on as before.
    """
    path = str(daemon.socket_file.with_name(f"{os.getpid()}.sock"))
    sockets: dict[int, str] = {}
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(CommandFailed, OSError), socket.socket(socket.AF_UNIX) as receiver:
            receiver.settimeout(_SECONDS)
            receiver.bind(path)
            stack.callback(_remove, path)
            receiver.listen(1)
            daemon.hand_over(path)
            link, _ = receiver.accept()
            with link:
                kinds, descriptors, _, _ = socket.recv_fds(link, _MESSAGE_BYTES, _MOST)
            sockets = dict(zip(descriptors, kinds.decode().split(","), strict=True))
        for descriptor in sockets:
            stack.callback(os.close, descriptor)
        yield sockets


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
