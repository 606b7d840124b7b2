"""Sockets that outlive the process they are handed to, as launchd and systemd keep them."""

import fcntl
import os
import select
import socket
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

_ABOVE = 64
_FIRST = 3
_AS_SYSTEMD = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"]


class SocketKeeper:
    """Listens on sockets, each with a name, and starts programs that are to serve them."""

    def __init__(self) -> None:
        self._sockets: list[tuple[str, socket.socket]] = []

    def keep(self, name: str, listener: socket.socket) -> None:
        self._sockets.append((name, listener))

    def spawn(
        self, command: Sequence[str], env: Mapping[str, str], **options: Any
    ) -> "subprocess.Popen[bytes]":
        """Start `command` with the sockets from descriptor 3 on, as sd_listen_fds(3) says."""
        if not self._sockets:
            return subprocess.Popen(command, env=env, **options)
        held = [fcntl.fcntl(each, fcntl.F_DUPFD, _ABOVE) for _, each in self._sockets]
        places = range(_FIRST, _FIRST + len(held))

        def put_in_place() -> None:
            for descriptor, place in zip(held, places, strict=True):
                os.dup2(descriptor, place)

        announced = {
            "LISTEN_FDS": str(len(held)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in self._sockets),
        }
        try:
            return subprocess.Popen(
                [*_AS_SYSTEMD, *command],
                env={**env, **announced},
                preexec_fn=put_in_place,
                pass_fds=tuple(places),
                **options,
            )
        finally:
            for descriptor in held:
                os.close(descriptor)

    def asked(self, seconds: float) -> bool:
        """Wait at most `seconds` for a connection, and leave it to be accepted."""
        return bool(select.select([each for _, each in self._sockets], [], [], seconds)[0])

    def close(self) -> None:
        for _, listener in self._sockets:
            listener.close()
