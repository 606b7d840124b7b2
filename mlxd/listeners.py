"""The sockets the daemon listens on: TCP and Unix."""

import errno
import os
import socket
import stat
from pathlib import Path

from mlxd.errors import StartupError

_BACKLOG = 2048


def tcp(host: str, port: int) -> list[socket.socket]:
    """Listen on every address that `host` names; port 0 takes a free one.

    Raises:
        StartupError: the host is unknown, or the port is in use or forbidden.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise StartupError(f"server.host {host!r} cannot be resolved: {error}") from error
    wanted = list(dict.fromkeys((family, address) for family, *_, address in found))
    listeners: list[socket.socket] = []
    for family, address in wanted:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listeners.append(listener)
        if port == 0 and len(listeners) > 1:
            address = (address[0], listeners[0].getsockname()[1], *address[2:])
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            for opened in listeners:
                opened.close()
            raise StartupError(_explain(error, host, port)) from error
        listener.setblocking(False)
    return listeners


def unix(path: Path) -> socket.socket:
    """Listen on a Unix socket of mode 0600 in a folder of mode 0700, replacing a dead one.

    Raises:
        StartupError: another process listens there, something else is there, or the path cannot be
            used.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.path.lexists(path):
            _refuse_if_no_socket(path)
            _refuse_if_alive(path)
            path.unlink()
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartupError(f"socket {path} cannot be made: {error.strerror or error}") from error
    except StartupError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _refuse_if_no_socket(path: Path) -> None:
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise StartupError(f"{path} exists and is no socket: move it away, or set server.socket")


def _refuse_if_alive(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
    raise StartupError(f"another process listens on {path}: stop it, or set server.socket")


def _explain(error: OSError, host: str, port: int) -> str:
    where = f"{host}:{port}" if ":" not in host else f"[{host}]:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use: stop who listens there, or choose another server.port"
    if error.errno == errno.EACCES:
        return f"{where} is forbidden: ports below 1024 need root; choose another server.port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where} cannot be used: this machine has no such address; see server.host"
    return f"{where} cannot be used: {error.strerror}"
