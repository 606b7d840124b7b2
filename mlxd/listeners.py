"""The sockets the daemon listens on: TCP and Unix."""

import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxd.activation import Activated
from mlxd.addresses import LOCALHOST, primary, resolve
from mlxd.config import Config, check_host
from mlxd.errors import StartupError
from mlxd.units import address

_BACKLOG = 2048
_OLLAMA_PORT = 11434
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_log = logging.getLogger("mlxd")


@dataclass(frozen=True)
class Listeners:
    """The sockets of one daemon; a service manager keeps those that are `activated`."""

    tcp: list[socket.socket]
    local: socket.socket
    activated: Activated

    @property
    def url(self) -> str:
        """The base URL of the API; with IPv4, which every client speaks, if there is both."""
        host, port, *_ = min(self.tcp, key=lambda each: each.family).getsockname()
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
        if server.ollama:
            bound += _ollama(server.host)
        for listener in bound:
            stack.enter_context(listener)
        local = activated.local
        if local is None:
            file = config.socket_file()
            local = stack.enter_context(unix(file))
            stack.callback(file.unlink, missing_ok=True)
        yield Listeners([*activated.tcp, *bound], local, activated)


def tcp(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of `host` that this machine has; port 0 takes a free one for all.

    Where another program has the port of ::1 only, "localhost" is 127.0.0.1, with a warning.

    Raises:
        StartupError: there is no such host, or a port is in use or not allowed.
    """
    try:
        wanted = resolve(host, port)
    except (socket.gaierror, UnicodeError) as error:
        raise StartupError(f"server.host {host!r} cannot be resolved: {error}") from error
    with contextlib.ExitStack() as undo:
        listeners: list[socket.socket] = []
        fault: StartupError | None = None
        for family, (ip, _, *rest) in wanted:
            # Of a free port, all take the number that the first one got.
            number = port or (listeners[0].getsockname()[1] if listeners else 0)
            try:
                listener = _listen(family, (ip, number, *rest))
            except OSError as error:
                where = address(ip, number)
                fault = StartupError(_explain(error, where))
                if error.errno in _NO_SUCH_ADDRESS:
                    continue
                if error.errno == errno.EADDRINUSE and listeners and host.lower() == LOCALHOST:
                    _log.warning("%s, and clients of localhost may reach that", fault.message)
                    continue
                raise fault from error
            listeners.append(undo.enter_context(listener))
        if fault and not listeners:
            raise fault
        undo.pop_all()
    return listeners


def _ollama(host: str) -> list[socket.socket]:
    """Listen on Ollama's port too, unless it is in use: then warn, and go on without it."""
    try:
        return tcp(host, _OLLAMA_PORT)
    except StartupError as error:
        where = address(primary(host), _OLLAMA_PORT)
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EADDRINUSE:
            raise
        _log.warning(
            "%s is in use, probably by Ollama itself: stop it and restart mlxd, or set "
            "server.ollama to false",
            where,
        )
        return []


def _listen(family: socket.AddressFamily, where: tuple[Any, ...]) -> socket.socket:
    listener = socket.create_server(where, family=family, backlog=_BACKLOG)
    listener.setblocking(False)
    return listener


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
