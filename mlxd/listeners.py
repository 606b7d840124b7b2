"""The sockets the daemon listens on: TCP and Unix."""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlxd.activation import Activated
from mlxd.config import Config, check_host
from mlxd.errors import StartupError
from mlxd.units import address

_BACKLOG = 2048


@dataclass(frozen=True)
class Listeners:
    """The sockets of one daemon; a service manager keeps those that are `activated`."""

    tcp: list[socket.socket]
    local: socket.socket
    activated: Activated

    @property
    def url(self) -> str:
        """The base URL of the API."""
        host, port, *_ = self.tcp[0].getsockname()
        return f"http://{address(host, port)}"

    @property
    def socket_file(self) -> Path:
        """The path of the Unix socket."""
        return Path(self.local.getsockname())


@contextlib.contextmanager
def opened(config: Config, activated: Activated) -> Iterator[Listeners]:
    """Yield the activated sockets, and newly bound ones in place of those that are missing.

    Raises StartupError if a socket cannot be bound, and ConfigError if an activated socket can be
    reached from other machines, without an API key.
    """
    server = config.server
    with contextlib.ExitStack() as stack:
        for listener in activated.all:
            stack.enter_context(listener)
        for listener in activated.tcp:
            check_host(config, listener.getsockname()[0])
        bound = [] if activated.tcp else tcp(server.host, server.port)
        for listener in bound:
            stack.enter_context(listener)
        local = activated.local
        if local is None:
            file = config.socket_file()
            local = stack.enter_context(unix(file))
            stack.callback(file.unlink, missing_ok=True)
        yield Listeners(activated.tcp or bound, local, activated)


def tcp(host: str, port: int) -> list[socket.socket]:
    """Listen on every address that `host` resolves to; port 0 takes a free one."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise StartupError(f"server.host {host!r} cannot be resolved: {error}") from error
    listeners: list[socket.socket] = []
    for family, where in dict.fromkeys((family, where) for family, *_, where in found):
        if port == 0 and listeners:
            where = (where[0], listeners[0].getsockname()[1], *where[2:])
        try:
            listener = socket.create_server(where, family=family, backlog=_BACKLOG)
        except OSError as error:
            for each in listeners:
                each.close()
            raise StartupError(_explain(error, address(host, port))) from error
        listener.setblocking(False)
        listeners.append(listener)
    return listeners


def unix(path: Path) -> socket.socket:
    """Listen on a Unix socket of mode 0600 in a folder of mode 0700, replacing a dead one."""
    with contextlib.ExitStack() as undo:
        listener = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.path.lexists(path):
                _check_dead(path)
                path.unlink()
            before = os.umask(0o177)
            try:
                listener.bind(str(path))
            finally:
                os.umask(before)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise StartupError(
                f"socket {path} cannot be made: {error.strerror or error}"
            ) from error
        undo.pop_all()
    listener.setblocking(False)
    return listener


def _check_dead(path: Path) -> None:
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise StartupError(f"{path} is not a socket: move it away, or set server.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
    raise StartupError(f"another process listens on {path}: stop it, or set server.socket")


def _explain(error: OSError, where: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use: stop the program that listens there, or change server.port"
    if error.errno == errno.EACCES:
        return f"{where} is not allowed: ports below 1024 need root; change server.port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where} cannot be used: this machine has no such address; see server.host"
    return f"{where} cannot be used: {error.strerror}"
