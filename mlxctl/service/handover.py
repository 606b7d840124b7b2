"""Holding the sockets of a daemon that ends, until the next one takes them; see mlxd.handover."""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mlxctl.errors import CommandFailed
from mlxctl.service.probe import Probe
from mlxd.control_api import Launch

_MOST = 32
_MESSAGE_BYTES = 1024
_SECONDS = 5.0


@dataclass(frozen=True)
class Inheritance:
    """What a daemon leaves to the next: descriptors of sockets with their kind, and its launch.

    The kinds are those of `SOCKETS_VARIABLE`.
    """

    sockets: Mapping[int, str] = field(default_factory=dict)
    launch: Launch = field(default_factory=Launch)


@contextlib.contextmanager
def received(daemon: Probe) -> Iterator[Inheritance]:
    """Have the daemon hand over its sockets and end; give them while the block runs.

    There are none where the daemon does not answer, or knows nothing of this: it goes on as before.
    """
    path = str(daemon.socket_file.with_name(f"{os.getpid()}.sock"))
    sockets: dict[int, str] = {}
    launch = Launch()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(CommandFailed, OSError), socket.socket(socket.AF_UNIX) as receiver:
            receiver.settimeout(_SECONDS)
            receiver.bind(path)
            stack.callback(_remove, path)
            receiver.listen(1)
            launch = daemon.hand_over(path).launch
            link, _ = receiver.accept()
            with link:
                kinds, descriptors, _, _ = socket.recv_fds(link, _MESSAGE_BYTES, _MOST)
            sockets = dict(zip(descriptors, kinds.decode().split(","), strict=True))
        for descriptor in sockets:
            stack.callback(os.close, descriptor)
        yield Inheritance(sockets, launch)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
